-- works with programs from version 2
-- A lease names the login that holds it, which no caller can choose, beside the name that its holder gave itself.
-- Leases in force now name no login: they end within their time, with the name alone.
ALTER TABLE vaultstream.keys ADD login text;       -- the session_user that holds the lease
ALTER TABLE vaultstream.leases ADD login text;     -- NULL: a lease that began before version 3

-- Until now a lease could have any length.
UPDATE vaultstream.keys SET lease_until = clock_timestamp() + interval '1 hour'
WHERE holder IS NOT NULL AND lease_until > clock_timestamp() + interval '1 hour';

-- failed: an attempt of its batch was counted. No row needs a check: each of the former outcomes is still one.
ALTER TABLE vaultstream.leases
    DROP CONSTRAINT leases_outcome_check,
    ADD CONSTRAINT leases_outcome_check
    CHECK (outcome IN ('committed', 'superseded', 'failed', 'released', 'expired', 'revoked')) NOT VALID;

-- It took no lease. Programs of version 2 call it no longer with success: their signers return a batch that failed to the
-- queue, without counting the attempt.
DROP FUNCTION IF EXISTS vaultstream.fail_batch(int, bigint, text, int);
