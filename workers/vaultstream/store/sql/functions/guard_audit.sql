-- An event of a job stays as it was recorded, and so does the list of jobs that have events. An event gets its number once; a job without a
-- tenant gets one once. This holds for the schema's owner too, who must alter the table first.
CREATE OR REPLACE FUNCTION vaultstream.guard_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_same text[] := '{}';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF TG_TABLE_NAME = 'audit_events' THEN
            v_same := CASE WHEN to_jsonb(OLD) -> 'number' = 'null' THEN '{number}' ELSE '{}' END;
        ELSE
            v_same := CASE WHEN to_jsonb(OLD) -> 'tenant' = 'null' THEN '{events,tenant}' ELSE '{events}' END;
            IF (to_jsonb(NEW) -> 'events')::bigint < (to_jsonb(OLD) -> 'events')::bigint THEN
                v_same := '{}';
            END IF;
        END IF;
        IF to_jsonb(NEW) - v_same = to_jsonb(OLD) - v_same THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE check_violation USING MESSAGE = format('vaultstream.%s only grows: its rows are not changed or removed', TG_TABLE_NAME);
END $$;
