-- works with programs from version 2
-- Each id of a batch has a bound, not only the first and the last: see guard_batches, which is created again after each migration.
SELECT;
