-- Counts a failed attempt of a batch under a lease that is in force, and ends the lease: one lease is good for one attempt, and
-- the history names who failed it. After the last attempt that the job's spec allows, the batch is split in two, and so on until
-- the faulty record is alone; that record goes to the dead letters. Returns retry, split or dead; settled if the batch was
-- already done; fenced if the lease was no longer held, and then nothing was counted.
CREATE OR REPLACE FUNCTION vaultstream.fail_batch(
    p_job_no int, p_holder text, p_batch_no bigint, p_key_no int, p_epoch int, p_error text)
RETURNS TABLE (outcome text, attempt int) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_batch vaultstream.batches;
    v_error text := left(coalesce(p_error, ''), 1000);
    v_limit int;
    v_began timestamptz;
    v_next  bigint;
    v_half  int;
BEGIN
    -- Batches, then the job, then keys: the lock order of commits and of deletions.
    SELECT b.* INTO v_batch FROM vaultstream.batches b
    WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no AND b.state = 'pending'
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'settled', 0;
        RETURN;
    END IF;
    SELECT coalesce((j.spec -> 'retries' ->> 'maxAttempts')::int, 5) INTO v_limit
    FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    v_batch.attempts := v_batch.attempts + 1;
    IF v_batch.attempts >= v_limit AND v_batch.records > 1 THEN
        PERFORM FROM vaultstream.jobs j WHERE j.job_no = p_job_no FOR NO KEY UPDATE;
    END IF;

    -- The fence, as of a commit.
    SELECT k.leased_at INTO v_began FROM vaultstream.keys k
    WHERE k.key_no = p_key_no AND k.epoch = p_epoch
      AND k.holder = p_holder AND coalesce(k.login, session_user) = session_user
      AND k.job_no = p_job_no AND k.state <> 'revoked' AND k.lease_until > clock_timestamp()
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

    UPDATE vaultstream.batches b SET attempts = v_batch.attempts, error = v_error
    WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no;
    IF v_batch.attempts < v_limit THEN
        RETURN QUERY SELECT 'retry', v_batch.attempts;
    ELSIF v_batch.records = 1 THEN
        UPDATE vaultstream.batches b SET state = 'done', dead = 1, settled_at = clock_timestamp()
        WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no;
        INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message)
        VALUES (p_job_no, v_batch.first_id, p_batch_no, 'Unsignable', v_error)
        ON CONFLICT DO NOTHING;
        RETURN QUERY SELECT 'dead', v_batch.attempts;
    ELSE
        UPDATE vaultstream.batches b SET state = 'split', settled_at = clock_timestamp()
        WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no;
        UPDATE vaultstream.jobs j SET next_batch_no = j.next_batch_no + 2 WHERE j.job_no = p_job_no
        RETURNING j.next_batch_no - 2 INTO v_next;
        v_half := v_batch.records / 2;
        IF v_batch.ids IS NULL THEN
            INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, planned) VALUES
                (p_job_no, v_next, v_half,
                 v_batch.first_id, (v_batch.first_id::bigint + v_half - 1)::text, false),
                (p_job_no, v_next + 1, v_batch.records - v_half,
                 (v_batch.first_id::bigint + v_half)::text, v_batch.last_id, false);
        ELSE
            INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids, planned) VALUES
                (p_job_no, v_next, v_half,
                 v_batch.first_id, v_batch.ids[v_half], v_batch.ids[1:v_half], false),
                (p_job_no, v_next + 1, v_batch.records - v_half,
                 v_batch.ids[v_half + 1], v_batch.last_id, v_batch.ids[v_half + 1:], false);
        END IF;
        RETURN QUERY SELECT 'split', v_batch.attempts;
    END IF;
END $$;
