-- The payloads that the records $1 have now; of one longer than $2 bytes the length alone.
SELECT id, octet_length(payload) AS bytes, CASE WHEN octet_length(payload) <= $2 THEN payload END AS payload
FROM (
    SELECT {id}::{id_type} AS id, {payload} AS payload
    FROM {relation}
    WHERE {id} = ANY ($1::{id_type}[])
) AS source
