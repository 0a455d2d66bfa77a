SELECT a.line, a.id, a.first, {excerpt} AS text
FROM pg_temp.vaultstream_import_again a
JOIN pg_temp.vaultstream_import s USING (line)
ORDER BY a.line
