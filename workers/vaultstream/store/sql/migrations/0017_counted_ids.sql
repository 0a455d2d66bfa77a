-- works with programs from version 2
-- Signers of this version send the first of consecutive ids, and commit_batches defines a function for each job that inserts its
-- signatures; see functions/define_insert.sql. No table changes.
SELECT 1;
