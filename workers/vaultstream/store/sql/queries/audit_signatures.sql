-- The signatures of the records $1.
SELECT record_id, key_no, epoch, signed_at, digest, signature
FROM {signatures}
WHERE record_id = ANY ($1::{id_type}[])
