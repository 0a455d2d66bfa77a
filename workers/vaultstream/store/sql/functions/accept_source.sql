-- Replaces the relation of a job: after a dump and a restore, relations have other oids. No role may call it: the owner of the
-- schema decides that the relation is the same.
CREATE OR REPLACE FUNCTION vaultstream.accept_source(p_job_no int, p_source_oid oid)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_former oid := (SELECT j.source_oid FROM vaultstream.jobs j WHERE j.job_no = p_job_no);
BEGIN
    PERFORM vaultstream.check_source(j.spec, p_source_oid) FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    UPDATE vaultstream.jobs SET source_oid = p_source_oid, message = NULL WHERE job_no = p_job_no;
    IF FOUND THEN
        PERFORM vaultstream.record_event(
            p_job_no, 'accept-source', jsonb_build_object('oid', p_source_oid::text, 'formerOid', v_former::text));
    END IF;
END $$;
