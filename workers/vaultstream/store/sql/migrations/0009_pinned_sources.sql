-- works with programs from version 2
-- The relation that a job signs, so that none that gets its name later is signed under the job's keys.
-- NULL: a job from before this migration; its records worker stores the relation when it starts.
ALTER TABLE vaultstream.jobs ADD source_oid oid;
