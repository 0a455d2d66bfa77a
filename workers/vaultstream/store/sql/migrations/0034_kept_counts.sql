-- works with programs from version 2
-- How far a job is, without counting its batches: the trigger and the functions that change batches keep the sums. Those of commits stand in
-- the rows of keys, which each commit changes anyway, and which no two commits change at a time.
-- A commit that runs while this is applied would not be counted, so jobs from before are counted batch by batch as before.
ALTER TABLE vaultstream.jobs
    ADD counted boolean NOT NULL DEFAULT false,    -- the sums are kept; false: the batches have to be counted
    ADD cut     bigint NOT NULL DEFAULT 0,         -- batches that were added, parts and retries included
    ADD splits  bigint NOT NULL DEFAULT 0,         -- of these, batches that were split
    ADD found   bigint NOT NULL DEFAULT 0,         -- records of the batches that were cut from the source
    ADD risen   bigint NOT NULL DEFAULT 0;         -- dead letters that were put into batches again
ALTER TABLE vaultstream.keys
    ADD done   bigint NOT NULL DEFAULT 0,          -- batches that were settled under this key
    ADD signed bigint NOT NULL DEFAULT 0,          -- their records with a signature
    ADD dead   bigint NOT NULL DEFAULT 0;          -- their records that went to the dead letters

-- The batches that were settled lately, the first one and the last one.
CREATE INDEX batches_settled ON vaultstream.batches (job_no, settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX batches_failing ON vaultstream.batches (job_no) WHERE state = 'pending' AND attempts > 0;

-- The body is in functions/.
CREATE FUNCTION vaultstream.count_batches() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER count AFTER INSERT ON vaultstream.batches
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION vaultstream.count_batches();
