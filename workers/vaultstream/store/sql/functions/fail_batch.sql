-- Counts a failed attempt of a batch. After the last attempt the batch is split in two, and so on until the faulty record
-- is alone; that record goes to the dead letters. Returns retry, split, dead, or settled if the batch was already done.
CREATE OR REPLACE FUNCTION vaultstream.fail_batch(p_job_no int, p_batch_no bigint, p_error text, p_max_attempts int)
RETURNS TABLE (outcome text, attempt int) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_batch vaultstream.batches;
    v_next  bigint;
    v_half  int;
BEGIN
    UPDATE vaultstream.batches b
    SET attempts = b.attempts + 1, error = p_error
    WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no AND b.state = 'pending'
    RETURNING b.* INTO v_batch;

    IF NOT FOUND THEN
        RETURN QUERY SELECT 'settled', 0;
    ELSIF v_batch.attempts < p_max_attempts THEN
        RETURN QUERY SELECT 'retry', v_batch.attempts;
    ELSIF v_batch.records = 1 THEN
        UPDATE vaultstream.batches b SET state = 'done', dead = 1, settled_at = clock_timestamp()
        WHERE b.job_no = p_job_no AND b.batch_no = p_batch_no;
        INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message)
        VALUES (p_job_no, v_batch.first_id, p_batch_no, 'Unsignable', p_error)
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
