-- works with programs from version 2
-- New keys are each another one, and named by their ordinal: see guard_keys, which is created again after each migration.
SELECT;
