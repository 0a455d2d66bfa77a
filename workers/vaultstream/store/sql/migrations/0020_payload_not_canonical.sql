-- works with programs from version 2
-- commit_batches knows the reason PayloadNotCanonical from here on; it is created again after each migration.
SELECT;
