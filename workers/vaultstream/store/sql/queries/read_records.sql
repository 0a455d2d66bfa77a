-- Ids and payloads of batches. A payload over the limit stays in the database; its size comes in its place.
-- {relation}, {id}, {type}, {payload}, {runs} and {which} are filled in by vaultstream.records.source; $1 is the limit in bytes.
-- OFFSET 0 keeps the planner from putting the payload's expression in each of the three places where it is named.
SELECT found.id, CASE WHEN octet_length(payload) <= $1 THEN payload END AS payload, octet_length(payload) AS size
FROM {runs} (SELECT s.{id}::{type} AS id, {payload} AS payload FROM {relation} AS s WHERE {which} OFFSET 0) AS found
