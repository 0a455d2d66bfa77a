-- Writes the dead letters of a commit, of its accepted slots. Each needs the row of its job, which a transaction left open may lock:
-- the wait has a bound here, because one on the whole commit would cost every commit time.
CREATE OR REPLACE FUNCTION vaultstream.add_dead_letters(
    p_job_no int, p_batch_no bigint[], p_accepted boolean[], p_died_at timestamptz,
    p_dead_slot int[], p_dead_id text[], p_dead_reason text[], p_dead_message text[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message, died_at)
    SELECT p_job_no, d.record_id, p_batch_no[d.slot], d.reason, d.message, p_died_at
    FROM unnest(p_dead_slot, p_dead_id, p_dead_reason, p_dead_message) AS d (slot, record_id, reason, message)
    WHERE p_accepted[d.slot]
    ON CONFLICT DO NOTHING;
END $$;
