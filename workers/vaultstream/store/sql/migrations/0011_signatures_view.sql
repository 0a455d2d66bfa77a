-- works with programs from version 2
-- Who opens psql finds the signatures of all jobs in one place. functions/signed_jobs.sql and signatures_of.sql replace these
-- placeholders in the same transaction. quick-start makes a view over this one: replace it, and do not drop it.
CREATE FUNCTION vaultstream.signed_jobs() RETURNS TABLE (job_no int, job text, token text)
LANGUAGE sql STABLE AS 'SELECT 0, NULL, NULL WHERE false';
CREATE FUNCTION vaultstream.signatures_of(p_job_no int, p_first_block bigint, p_blocks int)
RETURNS TABLE (record_id text, key_id text, algorithm text, signed_at timestamptz, payload_sha256 bytea, signature bytea)
LANGUAGE plpgsql STABLE AS 'BEGIN RETURN; END';

-- Functions in a view run with the rights of whoever reads it: no table is read with the rights of the view's owner. The tables are
-- named when the view is read: it needs no change when jobs come and go, and a query locks only the tables that it reads. Blocks are read
-- a portion at a time: a LIMIT reads little, and a long table takes no more memory than a short one.
CREATE VIEW vaultstream.signatures AS
SELECT j.job, s.record_id, s.key_id, s.algorithm, s.signed_at, s.payload_sha256, s.signature, j.token
FROM vaultstream.signed_jobs() AS j
CROSS JOIN LATERAL generate_series(
    0, pg_relation_size(to_regclass('vaultstream.signatures_' || j.job_no)) / current_setting('block_size')::int - 1, 128
) AS portion (first_block)
CROSS JOIN LATERAL vaultstream.signatures_of(j.job_no, portion.first_block, 128) AS s;
