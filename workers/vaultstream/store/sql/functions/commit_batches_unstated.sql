-- Commits batches for signers of versions before 12, which make no statements: for jobs from before that version alone. The error
-- is one that such a signer takes for a missing function: it returns its batches and costs them no attempt.
CREATE OR REPLACE FUNCTION vaultstream.commit_batches(
    p_job_no int, p_holder text,
    p_batch_no bigint[], p_key_no int[], p_epoch int[], p_signed int[], p_dead int[],
    p_record_id anyarray, p_width int, p_rows bytea,
    p_dead_slot int[], p_dead_id text[], p_dead_reason text[], p_dead_message text[])
RETURNS TABLE (slot int, outcome text) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    IF (SELECT j.stated FROM vaultstream.jobs j WHERE j.job_no = p_job_no) THEN
        RAISE undefined_function USING MESSAGE = 'commits of this job have statements: upgrade this signer';
    END IF;
    RETURN QUERY SELECT c.slot, c.outcome FROM vaultstream.commit_batches(
        p_job_no, p_holder, p_batch_no, p_key_no, p_epoch, p_signed, p_dead,
        array_fill(NULL::bigint, ARRAY[cardinality(p_batch_no)]), p_record_id, p_width, p_rows,
        p_dead_slot, p_dead_id, p_dead_reason, p_dead_message,
        array_fill(NULL::text, ARRAY[cardinality(p_batch_no)]), array_fill(NULL::bytea, ARRAY[cardinality(p_batch_no)])) AS c;
END $$;
