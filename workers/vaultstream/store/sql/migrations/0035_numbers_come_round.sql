-- works with programs from version 2
-- A number that was drawn and not used is drawn again when the sequence has come round, so nobody uses the numbers up: see number_keys and
-- create_job. The default of a column is drawn before any check, so keys have none.
ALTER TABLE vaultstream.jobs ALTER job_no SET CYCLE;

CREATE SEQUENCE vaultstream.key_numbers AS int CYCLE;
DO $$
DECLARE
    v_last   bigint;
    v_called boolean;
BEGIN
    EXECUTE format('SELECT last_value, is_called FROM %s', pg_get_serial_sequence('vaultstream.keys', 'key_no')) INTO v_last, v_called;
    PERFORM setval('vaultstream.key_numbers', v_last, v_called);
END $$;
ALTER TABLE vaultstream.keys ALTER key_no DROP IDENTITY;
ALTER SEQUENCE vaultstream.key_numbers OWNED BY vaultstream.keys.key_no;

-- The body is in functions/. It runs after the trigger guard: triggers run in the order of their names.
CREATE FUNCTION vaultstream.number_keys() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER number BEFORE INSERT ON vaultstream.keys
    FOR EACH ROW EXECUTE FUNCTION vaultstream.number_keys();
