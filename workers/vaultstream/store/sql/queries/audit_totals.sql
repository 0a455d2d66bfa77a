-- How many signatures and dead letters job $1 has, whatever they are of.
SELECT (SELECT count(*) FROM {signatures}) AS signatures,
       (SELECT count(*) FROM vaultstream.dead_letters WHERE job_no = $1) AS dead_letters
