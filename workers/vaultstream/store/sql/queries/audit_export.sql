-- The signatures of a job in the order of their records; of the records $1 only, if that is not NULL.
SELECT s.record_id::text, s.digest, k.key_id, k.state AS key_state, k.algorithm, s.signature, s.signed_at, s.epoch
FROM {signatures} s
LEFT JOIN vaultstream.keys k USING (key_no)
WHERE $1::{id_type}[] IS NULL OR s.record_id = ANY ($1)
ORDER BY s.record_id
