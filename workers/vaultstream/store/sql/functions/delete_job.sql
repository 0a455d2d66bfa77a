-- Deletes a job permanently and frees its name. Retain keeps signatures, statements, dead letters, lease history and public keys for the
-- auditor; Delete deletes them too. Dead letters that a retry cleared share the fate of the others. Private keys are deleted in either case.
-- Objects of others over the table of signatures keep an empty table, and nothing else: see drop_signatures.
-- The job's log stays in either case, and so do its seals and its audit events. Delete erases the texts of its dead letters.
CREATE OR REPLACE FUNCTION vaultstream.delete_job(p_job_no int, p_policy text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    v_deleted boolean;
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    IF (p_policy IN ('Retain', 'Delete')) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the policy is Retain or Delete';
    END IF;
    IF p_policy = 'Delete' THEN
        -- Batches, then the job, then keys: the lock order of commits. Nothing that refers to the job can be added from here on.
        PERFORM FROM vaultstream.batches WHERE job_no = p_job_no AND state = 'pending' ORDER BY batch_no FOR UPDATE;
        PERFORM FROM vaultstream.jobs WHERE job_no = p_job_no FOR UPDATE;
    END IF;
    SELECT j.deleted_at IS NOT NULL INTO v_deleted FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    UPDATE vaultstream.jobs SET deleted_at = coalesce(deleted_at, clock_timestamp()) WHERE job_no = p_job_no;
    PERFORM vaultstream.end_keys(p_job_no, ARRAY(SELECT key_id FROM vaultstream.keys WHERE job_no = p_job_no), 'retired');
    DELETE FROM vaultstream.scaling WHERE job_no = p_job_no;
    DELETE FROM vaultstream.decisions WHERE job_no = p_job_no;
    DELETE FROM vaultstream.key_material m USING vaultstream.keys k WHERE k.key_no = m.key_no AND k.job_no = p_job_no;
    IF p_policy = 'Delete' THEN
        PERFORM vaultstream.drop_signatures(p_job_no);
        DELETE FROM vaultstream.statements WHERE job_no = p_job_no;
        UPDATE vaultstream.log_entries SET subject = index::text, body = NULL WHERE job_no = p_job_no AND kind = 'dead-letter';
        DELETE FROM vaultstream.dead_letters WHERE job_no = p_job_no;
        DELETE FROM vaultstream.cleared_dead_letters WHERE job_no = p_job_no;
        DELETE FROM vaultstream.leases l USING vaultstream.keys k WHERE k.key_no = l.key_no AND k.job_no = p_job_no;
        DELETE FROM vaultstream.keys WHERE job_no = p_job_no;
        DELETE FROM vaultstream.batches WHERE job_no = p_job_no;
        DELETE FROM vaultstream.jobs WHERE job_no = p_job_no;
    END IF;
    IF v_deleted IS FALSE OR v_deleted AND p_policy = 'Delete' THEN
        PERFORM vaultstream.record_event(p_job_no, 'delete', jsonb_build_object('policy', p_policy));
    END IF;
END $$;
