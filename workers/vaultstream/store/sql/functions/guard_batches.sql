-- New batches of a login other than the schema's owner continue those of a job that is being planned: numbers without a gap,
-- ids ahead of the checkpoint and of the batches before, each once, ascending, as many as they say. (In what order a column of
-- text sorts, only its table knows.)
CREATE OR REPLACE FUNCTION vaultstream.guard_batches() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_wrong bigint;
BEGIN
    IF pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE') THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE check_violation USING MESSAGE = 'batches are planned at the isolation level READ COMMITTED: a snapshot is out of date';
    END IF;
    -- Whoever adds batches holds this lock, so that the job does not end meanwhile.
    PERFORM FROM vaultstream.jobs j WHERE j.job_no IN (SELECT a.job_no FROM added a) ORDER BY j.job_no FOR NO KEY UPDATE;
    SELECT a.batch_no INTO v_wrong
    FROM (SELECT added.*, row_number() OVER batch_order AS place, lag(added.last_id) OVER batch_order AS before
          FROM added WINDOW batch_order AS (PARTITION BY added.job_no ORDER BY added.batch_no)) AS a
    JOIN vaultstream.jobs j USING (job_no)
    LEFT JOIN LATERAL (
        SELECT b.last_id FROM vaultstream.batches b
        WHERE a.place = 1 AND b.job_no = a.job_no AND b.batch_no < a.batch_no AND b.planned
        ORDER BY b.batch_no DESC LIMIT 1
    ) AS last ON true
    WHERE (
        j.state NOT IN ('Complete', 'Failed') AND j.deleted_at IS NULL AND NOT j.planned
        AND a.batch_no = j.next_batch_no + a.place - 1
        AND a.records BETWEEN 1 AND (j.spec ->> 'batchSize')::int
        AND octet_length(a.first_id) <= 2500 AND octet_length(a.last_id) <= 2500
        AND (a.ids IS NULL OR octet_length(array_to_string(a.ids, '')) <= 2500 * a.records)
        AND CASE WHEN a.ids IS NULL THEN j.id_type = 'bigint' AND a.last_id::numeric - a.first_id::numeric + 1 = a.records
                 ELSE array_dims(a.ids) = format('[1:%s]', a.records) AND array_position(a.ids, NULL) IS NULL
                      AND a.ids[1] = a.first_id AND a.ids[a.records] = a.last_id END
        AND CASE j.id_type
            -- Postgres reads other spellings of a number too, such as ' 0x1', which no signer understands.
            WHEN 'bigint' THEN a.first_id = a.first_id::bigint::text AND a.last_id = a.last_id::bigint::text
                AND a.first_id::bigint <= a.last_id::bigint AND a.last_id::bigint <= j.upper_id::bigint
                AND (a.first_id::bigint > greatest(a.before::bigint, last.last_id::bigint, j.planned_id::bigint)) IS NOT FALSE
                AND (a.ids = ARRAY(SELECT DISTINCT id::bigint AS n FROM unnest(a.ids) AS id ORDER BY n)::text[]) IS NOT FALSE
            WHEN 'uuid' THEN a.first_id::uuid <= a.last_id::uuid AND a.last_id::uuid <= j.upper_id::uuid
                AND (a.before IS NULL OR a.first_id::uuid > a.before::uuid)
                AND (last.last_id IS NULL OR a.first_id::uuid > last.last_id::uuid)
                AND (j.planned_id IS NULL OR a.first_id::uuid > j.planned_id::uuid)
                AND a.ids = ARRAY(SELECT DISTINCT id::uuid AS n FROM unnest(a.ids) AS id ORDER BY n)::text[]
            -- Each id has to fit into the index of dead letters.
            ELSE a.records = (SELECT count(DISTINCT id COLLATE "C") FROM unnest(a.ids) AS id HAVING max(octet_length(id)) <= 2500) END
    ) IS NOT TRUE
    LIMIT 1;
    IF v_wrong IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = format('batch %s does not continue the planning of its job', v_wrong);
    END IF;
    RETURN NULL;
END $$;
