-- Puts a job's dead letters into new batches and reopens the job; a suspended job stays suspended, and one that failed or was
-- deleted is not reopened. The dead letters move to cleared_dead_letters.
CREATE OR REPLACE FUNCTION vaultstream.retry_dead(p_job_no int)
RETURNS int LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    v_first   bigint;
    v_size    int;
    v_records int;
    v_batches int;
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    SELECT next_batch_no, (spec ->> 'batchSize')::int INTO v_first, v_size
    FROM vaultstream.jobs
    WHERE job_no = p_job_no AND deleted_at IS NULL AND state <> 'Failed'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;

    WITH risen AS (
        DELETE FROM vaultstream.dead_letters WHERE job_no = p_job_no RETURNING *
    ), cleared AS (
        INSERT INTO vaultstream.cleared_dead_letters
            (job_no, record_id, batch_no, reason, message, died_at, cleared_at, cleared_by)
        SELECT job_no, record_id, batch_no, reason, message, died_at, clock_timestamp(), session_user FROM risen
    ), grouped AS (
        SELECT (n - 1) / v_size AS place, array_agg(record_id ORDER BY n) AS ids
        FROM (SELECT record_id, row_number() OVER (ORDER BY batch_no, record_id) AS n FROM risen) AS numbered
        GROUP BY place
    ), added AS (
        INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids, planned)
        SELECT p_job_no, v_first + place, cardinality(ids), ids[1], ids[cardinality(ids)], ids, false FROM grouped
        RETURNING records
    )
    SELECT coalesce(sum(records), 0), count(*) INTO v_records, v_batches FROM added;

    IF v_records > 0 THEN
        UPDATE vaultstream.jobs
        SET next_batch_no = v_first + v_batches, risen = risen + v_records, finished_at = NULL, message = NULL,
            state = CASE WHEN state = 'Suspended' THEN state ELSE 'Running' END
        WHERE job_no = p_job_no;
        PERFORM vaultstream.record_event(p_job_no, 'retry', jsonb_build_object('records', v_records::text));
    END IF;
    RETURN v_records;
END $$;
