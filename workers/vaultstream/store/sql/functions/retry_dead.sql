-- Puts a job's dead letters into new batches and reopens the job; a suspended job stays suspended.
CREATE OR REPLACE FUNCTION vaultstream.retry_dead(p_job_no int, p_batch_size int)
RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_first   bigint;
    v_records int;
    v_batches int;
BEGIN
    SELECT next_batch_no INTO v_first FROM vaultstream.jobs WHERE job_no = p_job_no FOR NO KEY UPDATE;

    WITH risen AS (
        DELETE FROM vaultstream.dead_letters WHERE job_no = p_job_no RETURNING record_id, batch_no
    ), grouped AS (
        SELECT (n - 1) / p_batch_size AS place, array_agg(record_id ORDER BY n) AS ids
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
        SET next_batch_no = v_first + v_batches, finished_at = NULL, message = NULL,
            state = CASE WHEN state = 'Suspended' THEN state ELSE 'Running' END
        WHERE job_no = p_job_no;
    END IF;
    RETURN v_records;
END $$;
