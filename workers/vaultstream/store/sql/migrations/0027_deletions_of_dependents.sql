-- works with programs from version 2
-- What depends on the signatures of a job is deleted with them: see delete_job, which is created again after each migration.
SELECT;
