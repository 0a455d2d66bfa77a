-- Which of the records $2 wait in a part or a retry of their batch that is still to be signed.
WITH waiting AS MATERIALIZED (
    SELECT covered.id
    FROM vaultstream.batches b
    CROSS JOIN LATERAL ({ids}) AS covered (id)
    WHERE b.job_no = $1 AND b.state = 'pending' AND NOT b.planned
)
SELECT DISTINCT id FROM waiting WHERE id = ANY ($2::{id_type}[])
