SELECT k.key_id, k.algorithm, k.state, m.version, m.kek_id, m.wrapped
FROM vaultstream.keys k
JOIN vaultstream.key_material m USING (key_no)
WHERE k.job_no = $1 AND ($2::text IS NULL OR k.key_id = $2)
ORDER BY k.ordinal
