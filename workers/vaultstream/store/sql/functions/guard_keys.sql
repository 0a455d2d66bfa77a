-- New keys of a login other than the schema's owner are for a job that was not deleted, with its algorithm and under its name.
-- A name has the ordinal, so nobody takes the name of another key. An ordinal is near those that are there, so that they last.
CREATE OR REPLACE FUNCTION vaultstream.guard_keys() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE') THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (
        SELECT FROM vaultstream.jobs j
        WHERE j.job_no = NEW.job_no AND j.deleted_at IS NULL AND NEW.ordinal BETWEEN 1 AND 1000000
          AND octet_length(NEW.public_key) BETWEEN 1 AND 8192 AND NEW.key_id ~ '^[a-z0-9-]{1,128}$'
          AND vaultstream.is_public_key(NEW.algorithm, NEW.public_key)
          AND NEW.algorithm = j.spec -> 'keys' ->> 'algorithm'
          AND starts_with(NEW.key_id || '-', j.token || '-' || NEW.ordinal || '-')
          AND NEW.ordinal <= 64 + greatest(
              (j.spec -> 'keys' ->> 'count')::int,
              (SELECT max(k.ordinal) FROM vaultstream.keys k WHERE k.job_no = NEW.job_no))
    ) THEN
        RAISE check_violation USING MESSAGE = format('key %s is none for job number %s', NEW.key_id, NEW.job_no);
    END IF;
    -- One private key as two would be leased twice at once. Nobody else can hold a lock on a key that they don't know yet.
    PERFORM pg_advisory_xact_lock(hashtextextended(encode(NEW.public_key, 'hex'), NEW.job_no));
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') OR EXISTS (
        SELECT FROM vaultstream.keys k
        WHERE k.job_no = NEW.job_no AND k.public_key = NEW.public_key AND k.ordinal <> NEW.ordinal
    ) THEN
        RAISE check_violation USING MESSAGE = format(
            'key %s of job number %s exists under another name, or the transaction is not READ COMMITTED', NEW.key_id, NEW.job_no);
    END IF;
    RETURN NEW;
END $$;
