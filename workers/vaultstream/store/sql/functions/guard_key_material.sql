-- A private key is wrapped again under the next version, never under an earlier one.
CREATE OR REPLACE FUNCTION vaultstream.guard_key_material() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.key_no <> OLD.key_no OR NEW.version <> OLD.version + 1 THEN
        RAISE check_violation USING MESSAGE = format('key number %s has version %s, not the one before %s',
                                                     OLD.key_no, OLD.version, NEW.version);
    END IF;
    RETURN NEW;
END $$;
