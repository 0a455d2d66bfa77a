-- works with programs from version 2
-- No login of a role stores ids in another spelling, specs that readers can't decode, or events of others: see guard_jobs, guard_batches,
-- number_events, add_attestation and record_export, which are created again after each migration.
SELECT;
