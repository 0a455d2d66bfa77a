-- The jobs that the login of this session sees, for the view vaultstream.signatures. A plain query without settings, which Postgres
-- puts in place of the call: a condition on the job then selects the tables that are read.
CREATE OR REPLACE FUNCTION vaultstream.signed_jobs() RETURNS TABLE (job_no int, job text, token text)
LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT j.job_no, j.name, j.token FROM vaultstream.jobs j';
