-- Commits batches in one transaction, each under the fence of its own lease and with its own row in the lease history.
-- Arrays with one element per batch come first; the position of an element is the batch's slot, from 1. Then follow the signed
-- records, slot by slot: their ids, and p_rows, with p_width bytes per record: the payload's SHA-256 (32 bytes), the length of
-- the signature (2 bytes, big-endian), the signature, and padding. This costs a third of two bytea arrays, on both ends.
-- The signed and the dead records of a slot must be exactly the records of its batch; otherwise nothing at all is written.
-- A slot with signed records has a statement (vaultstream.proof.statement) and its signature: a body that names other records,
-- another key or another lease is refused, and its time becomes that of the signatures. Its root and both kinds of signatures are
-- not verified here. Jobs from before version 12 also take NULL, and then the time of the commit.
-- Returns for each slot:
--   committed   its signatures and dead letters were written
--   fenced      its lease was no longer held, or the clock was set back since it was signed: nothing was written
--   superseded  the batch was already settled, or is settled by another slot (a redelivery, or a commit whose answer was
--               lost): nothing was written, and its key, if it was still held, is free
CREATE OR REPLACE FUNCTION vaultstream.commit_batches(
    p_job_no int, p_holder text,
    p_batch_no bigint[], p_key_no int[], p_epoch int[], p_signed int[], p_dead int[],
    p_record_id anyarray, p_width int, p_rows bytea,
    p_dead_slot int[], p_dead_id text[], p_dead_reason text[], p_dead_message text[],
    p_statement text[], p_statement_signature bytea[])
RETURNS TABLE (slot int, outcome text) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_slots    int := cardinality(p_batch_no);
    v_now      timestamptz;
    v_leased_no bigint[];
    v_open     bigint[];
    v_pending  boolean[];
    v_accepted boolean[] := array_fill(false, ARRAY[v_slots]);
    v_held     boolean[] := array_fill(false, ARRAY[v_slots]);
    v_late     boolean[] := array_fill(false, ARRAY[v_slots]);
    v_times    timestamptz[] := array_fill(NULL::timestamptz, ARRAY[v_slots]);
    v_token    text;
    v_stated   boolean;
    v_leased   timestamptz[] := array_fill(NULL::timestamptz, ARRAY[v_slots]);
    v_before   int[] := ARRAY(
        SELECT sum(c.signed) OVER (ORDER BY c.slot) - c.signed FROM unnest(p_signed) WITH ORDINALITY AS c (signed, slot));
    v_low      bigint[];
    v_high     bigint[];
    v_disordered int[];
    v_last     bigint;
    v_slot     int;
    v_row      record;
    v_expected bigint := 0;
    v_found    bigint;
    -- Rows of the accepted slots, without ids outside of a batch of consecutive integers: then some are missing.
    v_rows     text :=
        'FROM unnest($4, $5, $6, $7, $8, $9, $10, $11) AS b (key_no, epoch, signed_at, signed, before, accepted, low, high),
              LATERAL unnest($1[b.before + 1 : b.before + b.signed]) WITH ORDINALITY AS r (record_id, n),
              LATERAL (SELECT (b.before + r.n::int - 1) * $2 AS at) AS row
         WHERE b.accepted';
    v_insert   text := format(
        'INSERT INTO vaultstream.%I (record_id, key_no, epoch, signed_at, digest, signature)
         SELECT r.record_id, b.key_no, b.epoch, b.signed_at, substr($3, at + 1, 32), 
                substr($3, at + 35, get_byte($3, at + 32) * 256 + get_byte($3, at + 33)) ',
        'signatures_' || p_job_no);
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    -- A type that the caller defined could have a cast that runs with the privileges of this function's owner.
    IF pg_typeof(p_record_id) <> ALL ('{bigint[],uuid[],text[]}'::regtype[]) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'record ids are bigint, uuid or text';
    END IF;
    IF pg_typeof(p_record_id) = 'bigint[]'::regtype THEN
        v_rows := v_rows || ' AND (b.low IS NULL OR r.record_id BETWEEN b.low AND b.high)';
    END IF;

    IF v_slots = 0 THEN
        RETURN;
    END IF;
    -- Arrays of one dimension, from 1, of the same length; a NULL anywhere makes these conditions NULL.
    IF (format('[1:%s]', v_slots) = ALL (ARRAY[
            array_dims(p_batch_no), array_dims(p_key_no), array_dims(p_epoch), array_dims(p_signed), array_dims(p_dead),
            array_dims(p_statement), array_dims(p_statement_signature)])
        AND 0 <= ALL (p_signed) AND 0 <= ALL (p_dead)
        AND p_width BETWEEN 34 AND 65569
        AND octet_length(p_rows) = p_width::bigint * cardinality(p_record_id)
        AND cardinality(p_record_id) = (SELECT sum(each) FROM unnest(p_signed) AS each)
        AND coalesce(array_dims(p_record_id), '[1:0]') = format('[1:%s]', cardinality(p_record_id))
       ) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'p_rows and p_record_id do not match p_signed';
    END IF;
    v_found := (SELECT sum(each) FROM unnest(p_dead) AS each);
    IF v_found > 0 OR cardinality(p_dead_slot) IS DISTINCT FROM 0 THEN
        IF (format('[1:%s]', v_found) = ALL (ARRAY[
                array_dims(p_dead_slot), array_dims(p_dead_id), array_dims(p_dead_reason), array_dims(p_dead_message)])
            AND NOT EXISTS (
                SELECT FROM unnest(p_dead_slot) AS d (slot)
                FULL JOIN unnest(p_dead) WITH ORDINALITY AS c (dead, slot) ON c.slot = d.slot
                GROUP BY coalesce(d.slot, c.slot) HAVING count(d.slot) IS DISTINCT FROM max(c.dead))
            -- Unsignable is what fail_batch writes, after counted attempts.
            AND p_dead_reason <@ '{PayloadNull,PayloadTooLarge,PayloadReserved,PayloadIsToken,RecordGone,IdNotUnique}'
            AND 1000 >= ALL (ARRAY(SELECT length(message) FROM unnest(p_dead_message) AS message))
           ) IS NOT TRUE THEN
            RAISE invalid_parameter_value USING MESSAGE = 'the dead records do not match p_dead, or have no known reason';
        END IF;
    END IF;

    -- In order: two deliveries of the same batches wait for each other and never deadlock.
    -- (Here and below, ANY selects the rows: a join with unnest would scan all rows of the job.)
    -- A batch whose lease is not in force is not locked: nobody holds up others by commits without leases.
    v_leased_no := ARRAY(
        SELECT c.batch_no FROM unnest(p_key_no, p_epoch, p_batch_no) AS c (key_no, epoch, batch_no)
        JOIN vaultstream.keys k ON k.key_no = c.key_no AND k.epoch = c.epoch
        WHERE k.key_no = ANY (p_key_no) AND vaultstream.is_leased_to(k, p_holder)
          AND k.job_no = p_job_no AND coalesce(k.batch_no, c.batch_no) = c.batch_no);
    v_open := ARRAY(
        SELECT b.batch_no FROM vaultstream.batches b
        WHERE b.job_no = p_job_no AND b.batch_no = ANY (v_leased_no) AND b.state = 'pending'
        ORDER BY b.batch_no
        FOR UPDATE);
    v_pending := ARRAY(
        SELECT CASE WHEN c.batch_no = ANY (v_leased_no) THEN c.batch_no = ANY (v_open)
                    ELSE EXISTS (SELECT FROM vaultstream.batches b
                                 WHERE b.job_no = p_job_no AND b.batch_no = c.batch_no AND b.state = 'pending') END
        FROM unnest(p_batch_no) WITH ORDINALITY AS c (batch_no, slot) ORDER BY c.slot);

    -- The fence. A lease is for one batch; one from before version 6 names none. One that began only now fences its batch, because
    -- that was not locked. Once these rows are locked, nobody else can lease the keys until this transaction ends.
    SELECT j.token, j.stated INTO v_token, v_stated FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    FOR v_row IN
        SELECT c.slot, k.leased_at, c.body,
               -- The last 107 characters are the root and the time.
               '{"algorithm":' || to_json(k.algorithm) || ',"batch":' || c.batch_no || ',"count":' || c.signed
               || ',"epoch":' || c.epoch || ',"firstId":' || to_json(p_record_id[c.before + 1]::text)
               || ',"holder":' || to_json(p_holder) || ',"jobToken":' || to_json(v_token) || ',"keyId":' || to_json(k.key_id)
               || ',"lastId":' || to_json(p_record_id[c.before + c.signed]::text) || ',"root":"' || right(c.body, 107) AS expected
        FROM unnest(p_key_no, p_epoch, p_batch_no, p_signed, v_before, p_statement)
             WITH ORDINALITY AS c (key_no, epoch, batch_no, signed, before, body, slot)
        JOIN vaultstream.keys k ON k.key_no = c.key_no AND k.epoch = c.epoch
        WHERE k.key_no = ANY (p_key_no) AND vaultstream.is_leased_to(k, p_holder)
          AND k.job_no = p_job_no AND coalesce(k.batch_no, c.batch_no) = c.batch_no AND c.batch_no = ANY (v_leased_no)
        ORDER BY k.key_no
        FOR NO KEY UPDATE OF k
    LOOP
        v_held[v_row.slot] := true;
        v_leased[v_row.slot] := v_row.leased_at;
        IF p_signed[v_row.slot] = 0 OR v_row.body IS NULL THEN
            IF v_row.body IS NOT NULL OR v_stated AND p_signed[v_row.slot] > 0 THEN
                RAISE invalid_parameter_value
                USING MESSAGE = format('batch %s has no statement, or nothing to state', p_batch_no[v_row.slot]);
            END IF;
        ELSIF (v_row.body = v_row.expected AND v_row.body ~
               '"root":"[0-9a-f]{64}","signedAt":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"}$'
               AND octet_length(p_statement_signature[v_row.slot]) BETWEEN 1 AND 65535) IS NOT TRUE THEN
            RAISE invalid_parameter_value
            USING MESSAGE = format('the statement is not about this commit of batch %s', p_batch_no[v_row.slot]);
        ELSE
            v_times[v_row.slot] := left(right(v_row.body, 29), 27)::timestamptz;
            -- A second 60 or an hour 24 is another time than its text, and not one for other programs.
            IF to_char(v_times[v_row.slot] AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') <> left(right(v_row.body, 29), 27) THEN
                RAISE invalid_parameter_value
                USING MESSAGE = format('the statement is not about this commit of batch %s', p_batch_no[v_row.slot]);
            END IF;
        END IF;
    END LOOP;
    v_now := clock_timestamp();
    -- A statement is from within its lease. If the clock was set back, the lease can begin in the future; then it is from the last
    -- hour. A statement from the future was signed before the clock was set back: its batch is signed again.
    FOR v_slot IN 1 .. v_slots LOOP
        CONTINUE WHEN NOT v_held[v_slot];
        v_times[v_slot] := coalesce(v_times[v_slot], v_now);
        IF v_times[v_slot] > v_now THEN
            v_late[v_slot] := true;
        ELSIF v_times[v_slot] < least(v_leased[v_slot], v_now - interval '1 hour')
              OR v_times[v_slot] < v_leased[v_slot] AND v_leased[v_slot] <= v_now THEN
            RAISE invalid_parameter_value
            USING MESSAGE = format('the statement of batch %s is from before its lease', p_batch_no[v_slot]);
        END IF;
    END LOOP;

    -- A lease ends after its beginning, even if the clock was set back in between.
    UPDATE vaultstream.keys k
    SET holder = NULL, login = NULL, lru = nextval('vaultstream.lru'),
        lease_until = greatest(v_now, k.leased_at + interval '1 microsecond')
    WHERE k.key_no = ANY (ARRAY(
        SELECT c.key_no FROM unnest(p_key_no) WITH ORDINALITY AS c (key_no, slot) WHERE v_held[c.slot]));

    -- A batch that was delivered twice to this holder can be in two slots; only the first is accepted.
    FOR v_row IN
        SELECT c.slot, c.batch_no, c.signed FROM unnest(p_batch_no, p_signed) WITH ORDINALITY AS c (batch_no, signed, slot)
        WHERE v_pending[c.slot] AND v_held[c.slot] AND NOT v_late[c.slot]
        ORDER BY c.batch_no, c.slot
    LOOP
        CONTINUE WHEN v_row.batch_no = v_last;
        v_last := v_row.batch_no;
        v_accepted[v_row.slot] := true;
        v_expected := v_expected + v_row.signed;
    END LOOP;

    INSERT INTO vaultstream.leases (key_no, epoch, holder, login, batch_no, during, committed_at, outcome)
    SELECT c.key_no, c.epoch, p_holder, session_user, c.batch_no,
           tstzrange(v_leased[c.slot], greatest(v_now, v_leased[c.slot] + interval '1 microsecond')),
           CASE WHEN v_now <= v_leased[c.slot] THEN v_now END,
           CASE WHEN v_accepted[c.slot] THEN 'committed' WHEN v_late[c.slot] THEN 'released' ELSE 'superseded' END
    FROM unnest(p_key_no, p_epoch, p_batch_no) WITH ORDINALITY AS c (key_no, epoch, batch_no, slot)
    WHERE v_held[c.slot];

    -- Are the records those of the batch? Mostly they come as they were planned, and comparing is cheap. Consecutive integers are
    -- compared while they are inserted: with their number (which a constraint compares) and the primary key, that is enough.
    WITH done AS (
        UPDATE vaultstream.batches b
        SET state = 'done', signed = c.signed, dead = c.dead, settled_at = v_now
        FROM unnest(p_batch_no, p_signed, p_dead, v_before) WITH ORDINALITY AS c (batch_no, signed, dead, before, slot)
        WHERE b.job_no = p_job_no AND b.batch_no = ANY (v_open) AND b.batch_no = c.batch_no AND v_accepted[c.slot]
        RETURNING c.slot,
            CASE WHEN b.ids IS NULL THEN b.last_id::bigint - b.first_id::bigint + 1 = b.records AND c.dead = 0
                 ELSE p_record_id[c.before + 1 : c.before + c.signed]::text[] = b.ids END AS in_order,
            CASE WHEN b.ids IS NULL THEN b.first_id::bigint END AS low,
            CASE WHEN b.ids IS NULL THEN b.last_id::bigint END AS high
    )
    SELECT array_agg(done.low ORDER BY s), array_agg(done.high ORDER BY s),
           array_agg(s ORDER BY s) FILTER (WHERE NOT done.in_order)
    INTO v_low, v_high, v_disordered
    FROM generate_series(1, v_slots) AS s LEFT JOIN done ON done.slot = s;

    FOR v_row IN
        SELECT c.slot, c.signed, c.before, b.batch_no, b.first_id, b.last_id, b.ids
        FROM unnest(p_batch_no, p_signed, v_before) WITH ORDINALITY AS c (batch_no, signed, before, slot)
        JOIN vaultstream.batches b ON b.job_no = p_job_no AND b.batch_no = ANY (v_open) AND b.batch_no = c.batch_no
        WHERE c.slot = ANY (v_disordered)
    LOOP
        IF ARRAY(SELECT id FROM unnest(
                p_record_id[v_row.before + 1 : v_row.before + v_row.signed]::text[]
                || ARRAY(SELECT d.id FROM unnest(p_dead_slot, p_dead_id) AS d (slot, id) WHERE d.slot = v_row.slot)
            ) AS id ORDER BY id COLLATE "C")
           <> ARRAY(SELECT id FROM unnest(coalesce(
                v_row.ids, ARRAY(SELECT generate_series(v_row.first_id::bigint, v_row.last_id::bigint)::text))
            ) AS id ORDER BY id COLLATE "C") THEN
            RAISE invalid_parameter_value USING MESSAGE = format('the records are not those of batch %s', v_row.batch_no);
        END IF;
    END LOOP;

    -- No record of a pending batch has a signature. Checking first would cost as much as the insert.
    -- If a signature exists nevertheless, the existing one stays.
    BEGIN
        EXECUTE v_insert || v_rows
        USING p_record_id, p_width, p_rows, p_key_no, p_epoch, v_times, p_signed, v_before, v_accepted, v_low, v_high;
        GET DIAGNOSTICS v_found = ROW_COUNT;
    EXCEPTION WHEN unique_violation THEN
        EXECUTE 'SELECT count(DISTINCT r.record_id) ' || v_rows INTO v_found
        USING p_record_id, p_width, p_rows, p_key_no, p_epoch, v_times, p_signed, v_before, v_accepted, v_low, v_high;
        EXECUTE v_insert || v_rows || ' ON CONFLICT DO NOTHING'
        USING p_record_id, p_width, p_rows, p_key_no, p_epoch, v_times, p_signed, v_before, v_accepted, v_low, v_high;
    END;
    IF v_found <> v_expected THEN
        RAISE invalid_parameter_value
        USING MESSAGE = 'a record is not of its batch, or comes twice';
    END IF;

    INSERT INTO vaultstream.statements (job_no, batch_no, key_no, epoch, body, signature)
    SELECT p_job_no, c.batch_no, c.key_no, c.epoch, c.body, c.signature
    FROM unnest(p_batch_no, p_key_no, p_epoch, p_statement, p_statement_signature)
         WITH ORDINALITY AS c (batch_no, key_no, epoch, body, signature, slot)
    WHERE v_accepted[c.slot] AND c.body IS NOT NULL;

    IF cardinality(p_dead_slot) > 0 THEN
        INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message, died_at)
        SELECT p_job_no, d.record_id, p_batch_no[d.slot], d.reason, d.message, v_now
        FROM unnest(p_dead_slot, p_dead_id, p_dead_reason, p_dead_message) AS d (slot, record_id, reason, message)
        WHERE v_accepted[d.slot]
        ON CONFLICT DO NOTHING;
    END IF;

    RETURN QUERY
    SELECT s::int, CASE WHEN v_accepted[s] THEN 'committed' WHEN v_pending[s] AND (v_late[s] OR NOT v_held[s]) THEN 'fenced' ELSE 'superseded' END
    FROM generate_subscripts(p_batch_no, 1) AS s;
END $$;
