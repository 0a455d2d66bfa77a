SELECT
    count(*) FILTER (WHERE state = 'active') AS active,
    count(*) FILTER (WHERE state = 'retired') AS retired,
    count(*) FILTER (WHERE state = 'revoked') AS revoked,
    count(*) FILTER (WHERE holder IS NOT NULL AND lease_until > clock_timestamp()) AS leased
FROM vaultstream.keys
WHERE job_no = $1
