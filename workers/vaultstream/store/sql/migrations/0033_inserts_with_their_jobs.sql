-- works with programs from version 2
-- A job's insert is defined with the job, not by the first commit: see define_insert, which is created again after each migration, and
-- then defines the missing ones.
SELECT;
