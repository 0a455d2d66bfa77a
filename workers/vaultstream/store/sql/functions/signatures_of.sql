-- The signatures of a job that are stored in p_blocks blocks from p_first_block on, for the view vaultstream.signatures. It runs with
-- the rights of whoever reads the view: grants and row security apply. A job that was deleted meanwhile has none.
CREATE OR REPLACE FUNCTION vaultstream.signatures_of(p_job_no int, p_first_block bigint, p_blocks int)
RETURNS TABLE (record_id text, key_id text, algorithm text, signed_at timestamptz, payload_sha256 bytea, signature bytea)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 4000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT s.record_id::text, k.key_id, k.algorithm, s.signed_at, s.digest, s.signature
         FROM vaultstream.%I s LEFT JOIN vaultstream.keys k USING (key_no)
         WHERE s.ctid >= $1 AND s.ctid < $2', 'signatures_' || p_job_no)
    USING format('(%s,0)', p_first_block)::tid, format('(%s,0)', p_first_block + p_blocks)::tid;
EXCEPTION WHEN undefined_table THEN
    RETURN;
END $$;
