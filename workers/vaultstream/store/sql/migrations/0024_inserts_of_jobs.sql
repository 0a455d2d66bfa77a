-- works with programs from version 2
-- A login of signers could define insert_signatures_<job> for a job that was yet to be created, with another type of ids, and no batch of it
-- could be committed. Those functions go; commit_batches defines again what is missing.
DO $$
DECLARE
    v_insert regprocedure;
BEGIN
    FOR v_insert IN
        SELECT p.oid::regprocedure
        FROM pg_proc p
        LEFT JOIN vaultstream.jobs j ON p.proname = 'insert_signatures_' || j.job_no
        WHERE p.pronamespace = 'vaultstream'::regnamespace AND p.proname ~ '^insert_signatures_[0-9]+$'
          AND (j.job_no IS NULL OR p.pronargs <> 12 OR p.proargtypes[1] <> (j.id_type || '[]')::regtype)
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', v_insert);  -- any login may have a view over it
    END LOOP;
END $$;
