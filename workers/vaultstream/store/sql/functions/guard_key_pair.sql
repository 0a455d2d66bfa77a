-- A key that a login other than the schema's owner adds has its wrapped private half by the end of the transaction. Otherwise signers would
-- lease what nobody can sign with, and each of them would end.
CREATE OR REPLACE FUNCTION vaultstream.guard_key_pair() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE')
       AND NOT EXISTS (SELECT FROM vaultstream.key_material m WHERE m.key_no = NEW.key_no) THEN
        RAISE check_violation USING MESSAGE = format('key %s has no wrapped private half', NEW.key_id);
    END IF;
    RETURN NULL;
END $$;
