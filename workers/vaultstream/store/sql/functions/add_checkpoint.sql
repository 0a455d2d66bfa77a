-- Stores a signed checkpoint of a log as it stands: the note begins with its origin, size and root. Its signature is not verified here:
-- only a seal key can make one.
CREATE OR REPLACE FUNCTION vaultstream.add_checkpoint(p_log_no bigint, p_size bigint, p_note text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    v_log  vaultstream.logs;
    v_root bytea;
BEGIN
    SELECT l.* INTO v_log FROM vaultstream.logs l
    WHERE l.log_no = p_log_no AND l.size = p_size AND vaultstream.sees(l.tenant) FOR UPDATE;
    IF NOT FOUND OR (length(p_note) BETWEEN 1 AND 1000000) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = format('log %s does not have %s entries, or the note is too long', p_log_no, p_size);
    END IF;

    -- RFC 6962: the whole subtrees are joined from the right.
    v_root := CASE WHEN p_size = 0 THEN sha256('') ELSE substring(v_log.frontier FROM octet_length(v_log.frontier) - 31) END;
    FOR v_subtree IN REVERSE octet_length(v_log.frontier) / 32 - 1 .. 1 LOOP
        v_root := sha256('\x01' || substring(v_log.frontier FROM v_subtree * 32 - 31 FOR 32) || v_root);
    END LOOP;
    IF NOT starts_with(p_note, concat_ws(E'\n', v_log.origin, p_size, encode(v_root, 'base64'), '')) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('the note is no checkpoint of the log %s as it stands', v_log.origin);
    END IF;
    INSERT INTO vaultstream.checkpoints (log_no, size, note) VALUES (p_log_no, p_size, p_note);
END $$;
