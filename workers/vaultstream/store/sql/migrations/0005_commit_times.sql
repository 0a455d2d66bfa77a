-- works with programs from version 2
-- The time of a commit is the time of Postgres's clock. It can lie before the lease, which begins after the end of the former
-- lease even if the clock was set back in between.
ALTER TABLE vaultstream.leases ADD committed_at timestamptz;  -- NULL: at the end of `during`
