-- name: newest_attested
-- The newest checkpoint of log $1, and its attestations. With $2, the newest that has an attestation of that kind.
SELECT c.checkpoint_no, c.size, c.note, a.kind, a.attester, a.value
FROM (
    SELECT * FROM vaultstream.checkpoints n
    WHERE n.log_no = $1 AND ($2::text IS NULL OR EXISTS (
        SELECT FROM vaultstream.attestations k WHERE k.checkpoint_no = n.checkpoint_no AND k.kind = $2))
    ORDER BY n.size DESC, n.checkpoint_no DESC
    LIMIT 1
) AS c
LEFT JOIN vaultstream.attestations a USING (checkpoint_no)
ORDER BY a.kind, a.attester, a.made_at

-- name: add_attestation
SELECT vaultstream.add_attestation(p_checkpoint_no => $1, p_kind => $2, p_attester => $3, p_value => $4)

-- name: seen_by
-- The largest size of log $1 that the attester $2 has cosigned; 0: none.
SELECT coalesce(max(c.size), 0) FROM vaultstream.checkpoints c JOIN vaultstream.attestations a USING (checkpoint_no)
WHERE c.log_no = $1 AND a.kind = 'cosignature' AND a.attester = $2
