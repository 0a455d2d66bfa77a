-- Gives a new key the next number that is not in use. A login may draw numbers without end, by keys that it takes back or that are there:
-- none is lost for good, because the sequence comes round.
CREATE OR REPLACE FUNCTION vaultstream.number_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WHILE NEW.key_no IS NULL LOOP
        NEW.key_no := nextval('vaultstream.key_numbers');
        -- Statements and signatures under a number go before its key does, see delete_job.
        IF EXISTS (SELECT FROM vaultstream.keys k WHERE k.key_no = NEW.key_no)
           OR EXISTS (SELECT FROM vaultstream.leases l WHERE l.key_no = NEW.key_no) THEN
            NEW.key_no := NULL;
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
