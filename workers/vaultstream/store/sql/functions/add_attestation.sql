-- Stores what a witness or an authority of timestamps says about a checkpoint, once. Nothing in it is verified here: readers do that.
-- So a checkpoint has at most 32 of an attester, of at most 32 attesters of each kind.
CREATE OR REPLACE FUNCTION vaultstream.add_attestation(p_checkpoint_no bigint, p_kind text, p_attester text, p_value bytea)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    -- An older snapshot does not show all that count.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE invalid_parameter_value USING MESSAGE = 'attestations are added at the isolation level READ COMMITTED';
    END IF;
    PERFORM FROM vaultstream.checkpoints c JOIN vaultstream.logs l USING (log_no)
    WHERE c.checkpoint_no = p_checkpoint_no AND vaultstream.sees(l.tenant)
    FOR NO KEY UPDATE OF c;  -- so that no two count at once
    IF NOT FOUND OR (length(p_attester) BETWEEN 1 AND 2000
                     AND octet_length(p_value) BETWEEN 1 AND CASE p_kind WHEN 'cosignature' THEN 2000 ELSE 100000 END) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = format('there is no checkpoint %s, or the attestation is too long', p_checkpoint_no);
    END IF;
    IF EXISTS (SELECT FROM vaultstream.attestations a
               WHERE a.checkpoint_no = p_checkpoint_no AND a.kind = p_kind AND a.attester = p_attester AND a.value = p_value) THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FILTER (WHERE a.attester = p_attester) >= 32
            OR count(DISTINCT a.attester) FILTER (WHERE a.attester <> p_attester) >= 32
        FROM vaultstream.attestations a WHERE a.checkpoint_no = p_checkpoint_no AND a.kind = p_kind) THEN
        RAISE configuration_limit_exceeded USING MESSAGE = format('checkpoint %s has too many attestations', p_checkpoint_no);
    END IF;
    INSERT INTO vaultstream.attestations (checkpoint_no, kind, attester, value)
    VALUES (p_checkpoint_no, p_kind, p_attester, p_value) ON CONFLICT DO NOTHING;
END $$;
