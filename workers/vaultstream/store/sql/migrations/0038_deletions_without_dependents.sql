-- works with programs from version 2
-- A deletion drops nothing that others made over the signatures of its job, and waits for none of it; a tenant has at most 5,000 logs of
-- seals; an adoption waits for a limited time: see drop_signatures, delete_job, lock_log and adopt_job, which are created again after each
-- migration.
SELECT;
