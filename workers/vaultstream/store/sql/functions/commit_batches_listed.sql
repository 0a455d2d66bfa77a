-- Commits batches for signers of versions before 17, which list each id.
CREATE OR REPLACE FUNCTION vaultstream.commit_batches(
    p_job_no int, p_holder text,
    p_batch_no bigint[], p_key_no int[], p_epoch int[], p_signed int[], p_dead int[],
    p_record_id anyarray, p_width int, p_rows bytea,
    p_dead_slot int[], p_dead_id text[], p_dead_reason text[], p_dead_message text[],
    p_statement text[], p_statement_signature bytea[])
RETURNS TABLE (slot int, outcome text) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.slot, c.outcome FROM vaultstream.commit_batches(
        p_job_no, p_holder, p_batch_no, p_key_no, p_epoch, p_signed, p_dead,
        array_fill(NULL::bigint, ARRAY[cardinality(p_batch_no)]), p_record_id, p_width, p_rows,
        p_dead_slot, p_dead_id, p_dead_reason, p_dead_message, p_statement, p_statement_signature) AS c
$$;
