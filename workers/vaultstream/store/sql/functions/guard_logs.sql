-- Logs only grow, also for the owner of the schema. What delete_job erases is the text of a dead letter, because it names a record;
-- the leaf stays.
CREATE OR REPLACE FUNCTION vaultstream.guard_logs() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (CASE TG_TABLE_NAME
        WHEN 'logs' THEN
            to_jsonb(NEW) - '{size,frontier}'::text[] = to_jsonb(OLD) - '{size,frontier}'::text[]
            AND (to_jsonb(NEW) ->> 'size')::bigint > (to_jsonb(OLD) ->> 'size')::bigint
        WHEN 'log_entries' THEN
            to_jsonb(NEW) - '{subject,body}'::text[] = to_jsonb(OLD) - '{subject,body}'::text[]
            AND to_jsonb(NEW) ->> 'kind' = 'dead-letter' AND to_jsonb(NEW) ->> 'body' IS NULL
            AND NOT EXISTS (SELECT FROM vaultstream.jobs j
                            WHERE j.job_no = (to_jsonb(NEW) ->> 'job_no')::int AND j.deleted_at IS NULL)
        END) THEN
        RETURN NEW;
    END IF;
    RAISE check_violation USING MESSAGE = format('vaultstream.%s only grows: nothing in it is changed or removed', TG_TABLE_NAME);
END $$;
