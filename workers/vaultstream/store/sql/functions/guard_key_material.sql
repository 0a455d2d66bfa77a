-- A private key is wrapped again under the next version, never under an earlier one. A login other than the schema's owner adds
-- one for an active key, under version 1.
CREATE OR REPLACE FUNCTION vaultstream.guard_key_material() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- A message with it has at most 64 KiB.
    IF octet_length(NEW.wrapped) > 32768 OR length(NEW.kek_id) > 1000 THEN
        RAISE check_violation USING MESSAGE = format('the wrapped private key number %s, or the name of what wraps it, is too long', NEW.key_no);
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE') AND NOT (
            NEW.version = 1 AND EXISTS (SELECT FROM vaultstream.keys k WHERE k.key_no = NEW.key_no AND k.state = 'active')
        ) THEN
            RAISE check_violation USING MESSAGE = format('key number %s is not active, or %s is not version 1', NEW.key_no, NEW.version);
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.key_no <> OLD.key_no OR NEW.version <> OLD.version + 1 THEN
        RAISE check_violation USING MESSAGE = format('key number %s has version %s, not the one before %s',
                                                     OLD.key_no, OLD.version, NEW.version);
    END IF;
    RETURN NEW;
END $$;
