-- Removes the signatures of a job, with their table and the function that inserts them.
-- Any login that may use the schema can make views, functions and columns over both, also without a right to read them. To drop those, too,
-- Postgres would lock each: their owner could keep one locked, or have more than the table of locks has room for, which fails others. So
-- where there are such objects, what they are over stays: an empty table, and a function that nobody may call. Their number is never
-- given to another job. The next migration looks again.
-- Only delete_job calls this function, with its privileges, and a migration.
CREATE OR REPLACE FUNCTION vaultstream.drop_signatures(p_job_no int)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_table  regclass := to_regclass('vaultstream.signatures_' || p_job_no);
    v_insert regprocedure;
BEGIN
    IF v_table IS NOT NULL THEN
        EXECUTE format('TRUNCATE %s', v_table);
        -- What Postgres made with the table depends on it internally or automatically, what others made normally.
        IF NOT EXISTS (
            SELECT FROM pg_class c
            JOIN pg_type t ON t.oid = c.reltype
            JOIN pg_depend d ON (d.refclassid, d.refobjid) IN (
                ('pg_class'::regclass, c.oid), ('pg_type'::regclass, t.oid), ('pg_type'::regclass, t.typarray))
            WHERE c.oid = v_table AND d.deptype = 'n') THEN
            BEGIN
                EXECUTE format('DROP TABLE %s', v_table);
            EXCEPTION WHEN dependent_objects_still_exist OR lock_not_available THEN
                NULL;  -- made just now
            END;
        END IF;
    END IF;
    FOR v_insert IN SELECT p.oid::regprocedure FROM pg_proc p
                    WHERE p.pronamespace = 'vaultstream'::regnamespace AND p.proname = 'insert_signatures_' || p_job_no
                      AND NOT EXISTS (SELECT FROM pg_depend d
                                      WHERE (d.refclassid, d.refobjid) = ('pg_proc'::regclass, p.oid) AND d.deptype = 'n') LOOP
        BEGIN
            EXECUTE format('DROP FUNCTION %s', v_insert);
        EXCEPTION WHEN dependent_objects_still_exist OR lock_not_available THEN
            NULL;
        END;
    END LOOP;
END $$;
-- What earlier deletions left. A table that somebody reads at this moment is left to the next migration.
DO $$
DECLARE
    v_job_no int;
BEGIN
    FOR v_job_no IN SELECT substr(c.relname, 12)::int FROM pg_catalog.pg_class c
                    WHERE c.relnamespace = 'vaultstream'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^signatures_[0-9]{1,10}$'
                    UNION
                    SELECT substr(p.proname, 19)::int FROM pg_catalog.pg_proc p
                    WHERE p.pronamespace = 'vaultstream'::regnamespace AND p.proname ~ '^insert_signatures_[0-9]{1,10}$'
                    EXCEPT
                    SELECT j.job_no FROM vaultstream.jobs j LOOP
        BEGIN
            IF to_regclass('vaultstream.signatures_' || v_job_no) IS NOT NULL THEN
                EXECUTE pg_catalog.format('LOCK TABLE vaultstream.%I IN ACCESS EXCLUSIVE MODE NOWAIT', 'signatures_' || v_job_no);
            END IF;
            PERFORM vaultstream.drop_signatures(v_job_no);
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
END $$;
