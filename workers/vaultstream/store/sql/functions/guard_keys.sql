-- New keys of a login other than the schema's owner are for a job that was not deleted, with its algorithm and under its name.
CREATE OR REPLACE FUNCTION vaultstream.guard_keys() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE') AND NOT EXISTS (
        SELECT FROM vaultstream.jobs j
        WHERE j.job_no = NEW.job_no AND j.deleted_at IS NULL AND NEW.ordinal BETWEEN 1 AND 1000000
          AND octet_length(NEW.public_key) BETWEEN 1 AND 8192 AND NEW.key_id ~ '^[a-z0-9-]{1,128}$'
          AND vaultstream.is_public_key(NEW.algorithm, NEW.public_key)
          AND NEW.algorithm = j.spec -> 'keys' ->> 'algorithm' AND starts_with(NEW.key_id, j.token || '-')
    ) THEN
        RAISE check_violation USING MESSAGE = format('key %s is none for job number %s', NEW.key_id, NEW.job_no);
    END IF;
    RETURN NEW;
END $$;
