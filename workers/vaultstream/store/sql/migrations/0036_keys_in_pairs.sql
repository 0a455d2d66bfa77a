-- works with programs from version 2
-- No key is without its wrapped private half. The body of the function is in functions/.
CREATE FUNCTION vaultstream.guard_key_pair() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER guard_pair AFTER INSERT ON vaultstream.keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_key_pair();
