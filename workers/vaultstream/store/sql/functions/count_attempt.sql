-- Counts an attempt of a batch that failed. After the last attempt that the job's spec allows, the batch is split in two, and so on
-- until the faulty record is alone; that record goes to the dead letters under p_reason. Returns retry, split or dead; settled if
-- the batch was already done.
-- With the reason SignerLost, no error is known, and each attempt costs a signer. So the batch is split at once, which costs no
-- record anything; and a record that stands alone has at least three attempts, because a signer may end for other causes.
-- Only fail_batch and expire_leases call this function, with their privileges. They lock the batch, the key p_key_no, which counts what is
-- settled, and, if the batch may be split, the job.
DROP FUNCTION IF EXISTS vaultstream.count_attempt(int, bigint, text, text);
CREATE OR REPLACE FUNCTION vaultstream.count_attempt(
    p_job_no int, p_batch_no bigint, p_key_no int, p_reason text, p_error text)
RETURNS TABLE (outcome text, attempt int) LANGUAGE plpgsql AS $$
DECLARE
    v_batch vaultstream.batches;
    v_limit int;
    v_next  bigint;
    v_half  int;
BEGIN
    UPDATE vaultstream.batches b SET attempts = b.attempts + 1, error = p_error
    WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no AND b.state = 'pending'
    RETURNING b.* INTO v_batch;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'settled', 0;
        RETURN;
    END IF;
    SELECT coalesce((j.spec -> 'retries' ->> 'maxAttempts')::int, 5) INTO v_limit
    FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    IF p_reason = 'SignerLost' THEN
        v_limit := CASE WHEN v_batch.records > 1 THEN 1 ELSE greatest(v_limit, 3) END;
    END IF;

    IF v_batch.attempts < v_limit THEN
        RETURN QUERY SELECT 'retry', v_batch.attempts;
    ELSIF v_batch.records = 1 THEN
        UPDATE vaultstream.batches b SET state = 'done', dead = 1, settled_at = clock_timestamp()
        WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no;
        UPDATE vaultstream.keys k SET done = k.done + 1, dead = k.dead + 1 WHERE k.key_no = p_key_no;
        INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message)
        VALUES (p_job_no, v_batch.first_id, p_batch_no, p_reason, p_error)
        ON CONFLICT DO NOTHING;
        RETURN QUERY SELECT 'dead', v_batch.attempts;
    ELSE
        UPDATE vaultstream.batches b SET state = 'split', settled_at = clock_timestamp()
        WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no;
        UPDATE vaultstream.jobs j SET next_batch_no = j.next_batch_no + 2, splits = j.splits + 1 WHERE j.job_no = p_job_no
        RETURNING j.next_batch_no - 2 INTO v_next;
        v_half := v_batch.records / 2;
        -- A part of a suspect is a suspect.
        IF v_batch.ids IS NULL THEN
            INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, planned, lost) VALUES
                (p_job_no, v_next, v_half,
                 v_batch.first_id, (v_batch.first_id::bigint + v_half - 1)::text, false, v_batch.lost),
                (p_job_no, v_next + 1, v_batch.records - v_half,
                 (v_batch.first_id::bigint + v_half)::text, v_batch.last_id, false, v_batch.lost);
        ELSE
            INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids, planned, lost) VALUES
                (p_job_no, v_next, v_half,
                 v_batch.first_id, v_batch.ids[v_half], v_batch.ids[1:v_half], false, v_batch.lost),
                (p_job_no, v_next + 1, v_batch.records - v_half,
                 v_batch.ids[v_half + 1], v_batch.last_id, v_batch.ids[v_half + 1:], false, v_batch.lost);
        END IF;
        RETURN QUERY SELECT 'split', v_batch.attempts;
    END IF;
END $$;
