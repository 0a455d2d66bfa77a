-- Whether others made something over an object: what Postgres made with it depends on it internally or automatically, that normally.
CREATE OR REPLACE FUNCTION vaultstream.is_used_by_others(p_catalog regclass, p_object oid)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM (
            VALUES (p_catalog, p_object)
            UNION ALL
            SELECT 'pg_type'::regclass, t.oid
            FROM pg_type r JOIN pg_type t ON t.oid IN (r.oid, r.typarray)
            WHERE p_catalog = 'pg_class'::regclass AND r.typrelid = p_object
        ) AS o (catalog, oid)
        JOIN pg_depend d ON (d.refclassid, d.refobjid) = (o.catalog, o.oid)
        WHERE d.deptype = 'n')
$$;
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
        IF NOT vaultstream.is_used_by_others('pg_class', v_table) THEN
            BEGIN
                EXECUTE format('DROP TABLE %s', v_table);
            EXCEPTION WHEN dependent_objects_still_exist OR lock_not_available THEN
                NULL;  -- made just now
            END;
        END IF;
    END IF;
    FOR v_insert IN SELECT p.oid::regprocedure FROM pg_proc p
                    WHERE p.pronamespace = 'vaultstream'::regnamespace AND p.proname = 'insert_signatures_' || p_job_no
                      AND NOT vaultstream.is_used_by_others('pg_proc', p.oid) LOOP
        BEGIN
            EXECUTE format('DROP FUNCTION %s', v_insert);
        EXCEPTION WHEN dependent_objects_still_exist OR lock_not_available THEN
            NULL;
        END;
    END LOOP;
END $$;
-- What earlier deletions left, and nobody uses any more. Each takes several places in the table of locks until this migration ends, so
-- more than 200 are left to the next one, as is a table that somebody reads at this moment.
DO $$
DECLARE
    v_job_no int;
BEGIN
    FOR v_job_no IN
        SELECT o.job_no FROM (
            SELECT substr(c.relname, 12)::int AS job_no FROM pg_catalog.pg_class c
            WHERE c.relnamespace = 'vaultstream'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^signatures_[0-9]{1,10}$'
            UNION
            SELECT substr(p.proname, 19)::int FROM pg_catalog.pg_proc p
            WHERE p.pronamespace = 'vaultstream'::regnamespace AND p.proname ~ '^insert_signatures_[0-9]{1,10}$'
            EXCEPT
            SELECT j.job_no FROM vaultstream.jobs j
            OFFSET 0
        ) AS o
        WHERE CASE WHEN to_regclass('vaultstream.signatures_' || o.job_no) IS NOT NULL
                   THEN NOT vaultstream.is_used_by_others('pg_class', to_regclass('vaultstream.signatures_' || o.job_no))
                   ELSE EXISTS (
                       SELECT FROM pg_catalog.pg_proc p
                       WHERE p.pronamespace = 'vaultstream'::regnamespace AND p.proname = 'insert_signatures_' || o.job_no
                         AND NOT vaultstream.is_used_by_others('pg_proc', p.oid)) END
        LIMIT 200 LOOP
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
