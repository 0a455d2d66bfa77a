-- works with programs from version 2
-- A failure waits for the row of its job for a limited time: see fail_batch, which is created again after each migration.
SELECT;
