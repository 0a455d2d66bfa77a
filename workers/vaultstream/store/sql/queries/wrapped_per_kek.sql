-- How many wrapped keys need each key-encryption key.
SELECT kek_id, count(*) AS keys FROM vaultstream.key_material GROUP BY kek_id ORDER BY kek_id
