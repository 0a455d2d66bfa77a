-- works with programs from version 2
-- No login of a role stores ids, names or wrapped keys of any size: see guard_jobs, guard_batches, guard_key_material and append_entries,
-- which are created again after each migration.
SELECT;
