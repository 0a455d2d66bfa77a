-- Batches that a login other than the schema's owner planned are followed by the job's checkpoint in the same transaction.
-- Otherwise a split would get the number of one, or the next plan would repeat its records. The last one is enough: numbers and ids ascend.
CREATE OR REPLACE FUNCTION vaultstream.guard_checkpoint() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_job    record;
    v_last   record;
    v_passed boolean;
BEGIN
    -- What counts the batches runs as the owner, and since Postgres 18 so do the triggers of what it does.
    IF pg_has_role(session_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE') THEN
        RETURN NULL;
    END IF;
    SELECT j.id_type, j.next_batch_no, j.planned_id INTO v_job FROM vaultstream.jobs j WHERE j.job_no = NEW.job_no;
    SELECT b.batch_no, b.last_id INTO v_last
    FROM vaultstream.batches b WHERE b.job_no = NEW.job_no AND b.planned ORDER BY b.batch_no DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- The values are constants of the plan: what is in other branches of one expression would be converted too.
    IF v_job.id_type = 'bigint' THEN
        v_passed := v_job.planned_id::bigint >= v_last.last_id::bigint;
    ELSIF v_job.id_type = 'uuid' THEN
        v_passed := v_job.planned_id::uuid >= v_last.last_id::uuid;
    ELSE
        v_passed := v_job.planned_id IS NOT NULL;
    END IF;
    IF (v_passed AND v_job.next_batch_no > v_last.batch_no) IS NOT TRUE THEN
        RAISE check_violation USING MESSAGE = format('batch %s is not followed by the checkpoint of its job', v_last.batch_no);
    END IF;
    RETURN NULL;
END $$;
