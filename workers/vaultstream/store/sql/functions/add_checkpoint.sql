-- Stores a signed checkpoint of a log as it stands. Nothing in it is verified here: only a seal key can make one.
CREATE OR REPLACE FUNCTION vaultstream.add_checkpoint(p_log_no int, p_size bigint, p_note text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    PERFORM FROM vaultstream.logs l WHERE l.log_no = p_log_no AND l.size = p_size AND vaultstream.sees(l.tenant) FOR UPDATE;
    IF NOT FOUND OR (length(p_note) BETWEEN 1 AND 1000000) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = format('log %s does not have %s entries, or the note is too long', p_log_no, p_size);
    END IF;
    INSERT INTO vaultstream.checkpoints (log_no, size, note) VALUES (p_log_no, p_size, p_note);
END $$;
