-- Counts a failed attempt of a batch under a lease that is in force, and ends the lease: one lease is good for one attempt, and
-- the history names who failed it. count_attempt says what follows from it. Returns retry, split or dead; settled if the batch
-- was already done; fenced if the lease was no longer held, and then nothing was counted.
CREATE OR REPLACE FUNCTION vaultstream.fail_batch(
    p_job_no int, p_holder text, p_batch_no bigint, p_key_no int, p_epoch int, p_error text)
RETURNS TABLE (outcome text, attempt int) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    v_records int;
    v_began   timestamptz;
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    -- Nobody holds up others by calls without leases: the fence comes before any lock, and once more when the key is locked.
    IF NOT EXISTS (SELECT FROM vaultstream.keys k
                   WHERE k.key_no = p_key_no AND k.epoch = p_epoch AND vaultstream.is_leased_to(k, p_holder)
                     AND k.job_no = p_job_no AND coalesce(k.batch_no, p_batch_no) = p_batch_no) THEN
        RETURN QUERY
        SELECT CASE WHEN EXISTS (SELECT FROM vaultstream.batches b
                                 WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no AND b.state = 'pending')
               THEN 'fenced' ELSE 'settled' END, 0;
        RETURN;
    END IF;

    -- Batches, then the job, then keys: the lock order of commits and of deletions.
    SELECT b.records INTO v_records FROM vaultstream.batches b
    WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no AND b.state = 'pending'
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'settled', 0;
        RETURN;
    END IF;
    IF v_records > 1 THEN
        PERFORM FROM vaultstream.jobs j WHERE j.job_no = p_job_no FOR NO KEY UPDATE;
    END IF;

    SELECT k.leased_at INTO v_began FROM vaultstream.keys k
    WHERE k.key_no = p_key_no AND k.epoch = p_epoch AND vaultstream.is_leased_to(k, p_holder)
      AND k.job_no = p_job_no AND coalesce(k.batch_no, p_batch_no) = p_batch_no
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'fenced', 0;
        RETURN;
    END IF;
    WITH freed AS (
        UPDATE vaultstream.keys k
        SET holder = NULL, login = NULL, lru = nextval('vaultstream.lru'),
            lease_until = greatest(k.leased_at + interval '1 microsecond', clock_timestamp())
        WHERE k.key_no = p_key_no
        RETURNING k.lease_until
    )
    INSERT INTO vaultstream.leases (key_no, epoch, holder, login, batch_no, during, outcome)
    SELECT p_key_no, p_epoch, p_holder, session_user, p_batch_no, tstzrange(v_began, freed.lease_until), 'failed' FROM freed;

    RETURN QUERY SELECT c.outcome, c.attempt
    FROM vaultstream.count_attempt(p_job_no, p_batch_no, p_key_no, 'Unsignable', left(coalesce(p_error, ''), 1000)) AS c;
END $$;
