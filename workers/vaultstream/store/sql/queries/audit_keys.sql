-- The public keys of job $1.
SELECT key_no, key_id, algorithm, public_key, state FROM vaultstream.keys WHERE job_no = $1
