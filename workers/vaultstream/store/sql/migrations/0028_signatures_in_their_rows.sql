-- works with programs from version 2
-- A signature that was longer than its row went on with the rows of others: a commit of one megabyte stored a gigabyte. The functions that
-- insert the signatures of jobs go; commit_batches defines them again.
DO $$
DECLARE
    v_insert regprocedure;
BEGIN
    FOR v_insert IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = 'vaultstream'::regnamespace AND p.proname ~ '^insert_signatures_[0-9]+$'
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', v_insert);  -- any login may have a view over it
    END LOOP;
END $$;
