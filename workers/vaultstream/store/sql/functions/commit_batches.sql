-- Commits batches in one transaction, each under the fence of its own lease and with its own row in the lease history.
-- Arrays with one element per batch come first; the position of an element is the batch's slot, from 1. Then follow the signed
-- records, slot by slot: their ids, and p_rows, with p_width bytes per record: the payload's SHA-256 (32 bytes), the length of
-- the signature (2 bytes, big-endian), the signature, and padding. This costs a third of two bytea arrays, on both ends.
-- Of consecutive integers, p_first_id has the first; the ids of slots where it is NULL are in p_record_id.
-- The signed and the dead records of a slot must be exactly the records of its batch; otherwise nothing at all is written.
-- A slot with signed records has a statement (vaultstream.proof.statement) and its signature: a body that names other records,
-- another key or another lease is refused, and its time becomes that of the signatures. Its root and both kinds of signatures are
-- not verified here. Jobs from before version 12 also take NULL, and then the time of the commit.
-- Returns for each slot:
--   committed   its signatures and dead letters were written
--   fenced      its lease was no longer held, or the clock was set back since it was signed: nothing was written. Or the row of the
--               batch was locked by somebody else: then the lease goes on
--   superseded  the batch was already settled, or is settled by another slot (a redelivery, or a commit whose answer was
--               lost): nothing was written, and its key, if it was still held, is free
-- Each statement here costs as much as inserting ten rows, so what is rare has statements of its own.
CREATE OR REPLACE FUNCTION vaultstream.commit_batches(
    p_job_no int, p_holder text,
    p_batch_no bigint[], p_key_no int[], p_epoch int[], p_signed int[], p_dead int[],
    p_first_id bigint[], p_record_id anyarray, p_width int, p_rows bytea,
    p_dead_slot int[], p_dead_id text[], p_dead_reason text[], p_dead_message text[],
    p_statement text[], p_statement_signature bytea[])
RETURNS TABLE (slot int, outcome text) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_slots    int := cardinality(p_batch_no);
    v_now      timestamptz;
    v_before   int[];      -- by slot: the signed records of the slots before
    v_listed   int[];      -- by slot: the ids in p_record_id of the slots before
    v_signed   bigint := 0;
    v_ids      bigint := 0;
    v_dead     bigint := 0;
    v_leased_no bigint[];
    v_open     bigint[];
    v_locked   bigint[];
    v_pending  boolean[];
    v_accepted boolean[];
    v_held     boolean[];
    v_late     boolean[];
    v_times    timestamptz[];
    v_leased   timestamptz[];
    v_token    text;       -- as JSON, as the next one
    v_holder   text := to_json(p_holder);
    v_stated   boolean;
    v_unstated int;
    v_wrong    int;
    v_latest   timestamptz;
    v_in_time  boolean;
    v_disordered int[];
    v_last     bigint;
    v_slot     int;
    v_row      record;
    v_expected bigint := 0;
    v_found    bigint;
    v_again    boolean := false;
    v_defined  boolean := false;
BEGIN
    PERFORM vaultstream.require_job(p_job_no);
    -- A type that the caller defined could have a cast that runs with the privileges of this function's owner.
    IF pg_typeof(p_record_id) <> ALL ('{bigint[],uuid[],text[]}'::regtype[]) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'record ids are bigint, uuid or text';
    END IF;

    IF v_slots = 0 THEN
        RETURN;
    END IF;
    -- Arrays of one dimension, from 1, of the same length; a NULL anywhere makes these conditions NULL.
    IF (format('[1:%s]', v_slots) = ALL (ARRAY[
            array_dims(p_batch_no), array_dims(p_key_no), array_dims(p_epoch), array_dims(p_signed), array_dims(p_dead),
            array_dims(p_first_id), array_dims(p_statement), array_dims(p_statement_signature)])
        AND 0 <= ALL (p_signed) AND 0 <= ALL (p_dead)) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the arrays of the batches do not match';
    END IF;
    FOR v_slot IN 1 .. v_slots LOOP
        v_before[v_slot] := v_signed;
        v_listed[v_slot] := v_ids;
        v_signed := v_signed + p_signed[v_slot];
        v_dead := v_dead + p_dead[v_slot];
        IF p_first_id[v_slot] IS NULL THEN
            v_ids := v_ids + p_signed[v_slot];
        END IF;
    END LOOP;
    IF (p_width BETWEEN 34 AND 65569
        AND octet_length(p_rows) = p_width::bigint * v_signed
        AND cardinality(p_record_id) = v_ids
        AND coalesce(array_dims(p_record_id), '[1:0]') = format('[1:%s]', v_ids)
        AND (v_ids = v_signed OR pg_typeof(p_record_id) = 'bigint[]'::regtype)
       ) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'p_rows, p_first_id and p_record_id do not match p_signed';
    END IF;
    IF v_dead > 0 OR cardinality(p_dead_slot) IS DISTINCT FROM 0 THEN
        IF (format('[1:%s]', v_dead) = ALL (ARRAY[
                array_dims(p_dead_slot), array_dims(p_dead_id), array_dims(p_dead_reason), array_dims(p_dead_message)])
            AND NOT EXISTS (
                SELECT FROM unnest(p_dead_slot) AS d (slot)
                FULL JOIN unnest(p_dead) WITH ORDINALITY AS c (dead, slot) ON c.slot = d.slot
                GROUP BY coalesce(d.slot, c.slot) HAVING count(d.slot) IS DISTINCT FROM max(c.dead))
            -- Unsignable is what fail_batch writes, after counted attempts.
            AND p_dead_reason <@ '{PayloadNull,PayloadNotCanonical,PayloadTooLarge,PayloadReserved,PayloadIsToken,RecordGone,IdNotUnique}'
            AND 1000 >= ALL (ARRAY(SELECT length(message) FROM unnest(p_dead_message) AS message))
           ) IS NOT TRUE THEN
            RAISE invalid_parameter_value USING MESSAGE = 'the dead records do not match p_dead, or have no known reason';
        END IF;
    END IF;

    -- A batch that another commit has locked is left to that one: nobody holds up the other batches of a group by an open commit.
    -- (Here and below, ANY selects the rows: a join with unnest would scan all rows of the job.)
    -- A batch whose lease is not in force is not locked: nobody holds up others by commits without leases.
    WITH leased AS MATERIALIZED (
        SELECT c.batch_no FROM unnest(p_key_no, p_epoch, p_batch_no) AS c (key_no, epoch, batch_no)
        JOIN vaultstream.keys k ON k.key_no = c.key_no AND k.epoch = c.epoch
        WHERE k.key_no = ANY (p_key_no) AND vaultstream.is_leased_to(k, p_holder)
          AND k.job_no = p_job_no AND coalesce(k.batch_no, c.batch_no) = c.batch_no
    )
    SELECT ARRAY(SELECT leased.batch_no FROM leased),
           ARRAY(SELECT b.batch_no FROM vaultstream.batches b
                 WHERE b.job_no = p_job_no AND b.state = 'pending'
                   AND b.batch_no = ANY (ARRAY(SELECT leased.batch_no FROM leased))
                 ORDER BY b.batch_no
                 FOR UPDATE SKIP LOCKED)
    INTO v_leased_no, v_open;
    IF cardinality(v_open) = v_slots THEN
        v_pending := array_fill(true, ARRAY[v_slots]);
    ELSE
        v_locked := ARRAY(
            SELECT b.batch_no FROM vaultstream.batches b
            WHERE b.job_no = p_job_no AND b.state = 'pending' AND b.batch_no = ANY (v_leased_no) AND b.batch_no <> ALL (v_open));
        v_leased_no := ARRAY(SELECT each FROM unnest(v_leased_no) AS each WHERE each <> ALL (v_locked));
        v_pending := ARRAY(
            SELECT CASE WHEN c.batch_no = ANY (v_locked) THEN true
                        WHEN c.batch_no = ANY (v_leased_no) THEN c.batch_no = ANY (v_open)
                        ELSE EXISTS (SELECT FROM vaultstream.batches b
                                     WHERE b.job_no = p_job_no AND b.batch_no = c.batch_no AND b.state = 'pending') END
            FROM unnest(p_batch_no) WITH ORDINALITY AS c (batch_no, slot) ORDER BY c.slot);
    END IF;

    -- The fence. A lease is for one batch; one from before version 6 names none. One that began only now fences its batch, because
    -- that was not locked. Once these rows are locked, nobody else can lease the keys until this transaction ends.
    -- A body is what follows from the commit, with a root and a time. Only what looks like a time is read as one, and it must be
    -- written as it was read: a second 60 or an hour 24 is another time than its text, and not one for other programs.
    -- (A session may redefine the abbreviation UTC, and Z, by its time zone. An interval it can't.)
    -- (Regular expressions and functions that count characters would take five times as long.)
    SELECT to_json(j.token), j.stated INTO v_token, v_stated FROM vaultstream.jobs j WHERE j.job_no = p_job_no;
    SELECT array_agg(l.slot IS NOT NULL ORDER BY s), array_agg(l.leased_at ORDER BY s), array_agg(l.stated_at ORDER BY s),
           max(l.stated_at), bool_and(l.stated_at >= l.leased_at),
           min(l.slot) FILTER (WHERE l.signed = 0 AND l.body IS NOT NULL OR l.signed > 0 AND l.body IS NULL AND v_stated),
           min(l.slot) FILTER (WHERE l.body IS NOT NULL AND (
               l.body = '{"algorithm":' || to_json(l.algorithm) || ',"batch":' || l.batch_no || ',"count":' || l.signed
                     || ',"epoch":' || l.epoch || ',"firstId":' || to_json(l.first_id) || ',"holder":' || v_holder
                     || ',"jobToken":' || v_token || ',"keyId":' || to_json(l.key_id) || ',"lastId":' || to_json(l.last_id)
                     || ',"root":"' || encode(l.root, 'escape')
                     || '","signedAt":"' || to_char(l.stated_at AT TIME ZONE INTERVAL '0', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}'
               AND btrim(l.root, '0123456789abcdef') = ''
               AND octet_length(l.signature) BETWEEN 1 AND 65535) IS NOT TRUE)
    INTO v_held, v_leased, v_times, v_latest, v_in_time, v_unstated, v_wrong
    FROM generate_series(1, v_slots) AS s
    LEFT JOIN (
        SELECT locked.*, substr(locked.bytes, octet_length(locked.bytes) - 106, 64) AS root,
               CASE WHEN btrim(substr(locked.bytes, octet_length(locked.bytes) - 28, 27), '0123456789-T:.Z') = ''
                    THEN encode(substr(locked.bytes, octet_length(locked.bytes) - 28, 26), 'escape')::timestamp AT TIME ZONE INTERVAL '0' END AS stated_at
        FROM (
            SELECT c.slot, c.batch_no, c.epoch, c.signed, c.body, c.signature, k.leased_at, k.key_id, k.algorithm,
                   convert_to(c.body, 'UTF8') AS bytes,
                   coalesce(c.first_id::text, p_record_id[c.listed + 1]::text) AS first_id,
                   coalesce((c.first_id + (c.signed - 1))::text, p_record_id[c.listed + c.signed]::text) AS last_id
            FROM unnest(p_key_no, p_epoch, p_batch_no, p_signed, v_listed, p_first_id, p_statement, p_statement_signature)
                 WITH ORDINALITY AS c (key_no, epoch, batch_no, signed, listed, first_id, body, signature, slot)
            JOIN vaultstream.keys k ON k.key_no = c.key_no AND k.epoch = c.epoch
            WHERE k.key_no = ANY (p_key_no) AND vaultstream.is_leased_to(k, p_holder)
              AND k.job_no = p_job_no AND coalesce(k.batch_no, c.batch_no) = c.batch_no AND c.batch_no = ANY (v_leased_no)
            ORDER BY k.key_no
            FOR NO KEY UPDATE OF k
        ) AS locked
        OFFSET 0  -- read each time once
    ) AS l ON l.slot = s;
    IF v_unstated IS NOT NULL THEN
        RAISE invalid_parameter_value
        USING MESSAGE = format('batch %s has no statement, or nothing to state', p_batch_no[v_unstated]);
    ELSIF v_wrong IS NOT NULL THEN
        RAISE invalid_parameter_value
        USING MESSAGE = format('the statement is not about this commit of batch %s', p_batch_no[v_wrong]);
    END IF;
    v_now := clock_timestamp();
    v_late := array_fill(false, ARRAY[v_slots]);
    IF (v_in_time AND v_latest <= v_now) IS NOT TRUE OR array_position(v_times, NULL) IS NOT NULL THEN
        -- A statement is from within its lease. If the clock was set back, the lease can begin in the future; then it is from the
        -- last hour. A statement from the future was signed before the clock was set back, and one of the last hour from before the
        -- lease was signed while the lease was still to begin: their batches are signed again.
        FOR v_slot IN 1 .. v_slots LOOP
            CONTINUE WHEN NOT v_held[v_slot];
            v_times[v_slot] := coalesce(v_times[v_slot], v_now);
            IF v_times[v_slot] > v_now THEN
                v_late[v_slot] := true;
            ELSIF v_times[v_slot] < least(v_leased[v_slot], v_now - interval '1 hour') THEN
                RAISE invalid_parameter_value
                USING MESSAGE = format('the statement of batch %s is from before its lease', p_batch_no[v_slot]);
            ELSIF v_times[v_slot] < v_leased[v_slot] AND v_leased[v_slot] <= v_now THEN
                v_late[v_slot] := true;
            END IF;
        END LOOP;
    END IF;

    IF cardinality(v_open) = v_slots AND false <> ALL (v_held) AND true <> ALL (v_late) THEN
        v_accepted := v_held;
        v_expected := v_signed;
    ELSE
        -- A batch that was delivered twice to this holder can be in two slots; only the first is accepted.
        v_accepted := array_fill(false, ARRAY[v_slots]);
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
    END IF;

    -- A lease ends after its beginning, even if the clock was set back in between. The key counts what is settled under it.
    UPDATE vaultstream.keys k
    SET holder = NULL, login = NULL, lru = nextval('vaultstream.lru'),
        lease_until = greatest(v_now, k.leased_at + interval '1 microsecond'),
        done = k.done + c.accepted::int, signed = k.signed + c.accepted::int * c.signed, dead = k.dead + c.accepted::int * c.dead
    FROM unnest(p_key_no, v_held, v_accepted, p_signed, p_dead) AS c (key_no, held, accepted, signed, dead)
    WHERE k.key_no = ANY (p_key_no) AND k.key_no = c.key_no AND c.held;

    INSERT INTO vaultstream.leases (key_no, epoch, holder, login, batch_no, during, committed_at, outcome)
    SELECT c.key_no, c.epoch, p_holder, session_user, c.batch_no,
           tstzrange(c.leased_at, greatest(v_now, c.leased_at + interval '1 microsecond')),
           CASE WHEN v_now <= c.leased_at THEN v_now END,
           CASE WHEN c.accepted THEN 'committed' WHEN c.late THEN 'released' ELSE 'superseded' END
    FROM unnest(p_key_no, p_epoch, p_batch_no, v_leased, v_held, v_accepted, v_late)
         AS c (key_no, epoch, batch_no, leased_at, held, accepted, late)
    WHERE c.held;

    -- Are the records those of the batch? Mostly they come as they were planned, and comparing is cheap.
    WITH done AS (
        UPDATE vaultstream.batches b
        SET state = 'done', signed = c.signed, dead = c.dead, settled_at = v_now
        FROM unnest(p_batch_no, p_signed, p_dead, v_listed, p_first_id, v_accepted)
             WITH ORDINALITY AS c (batch_no, signed, dead, listed, first_id, accepted, slot)
        WHERE b.job_no = p_job_no AND b.batch_no = ANY (v_open) AND b.batch_no = c.batch_no AND c.accepted
        RETURNING c.slot, CASE
            WHEN c.first_id IS NULL THEN p_record_id[c.listed + 1 : c.listed + c.signed]::text[] = b.ids
            WHEN b.ids IS NULL THEN b.first_id::bigint = c.first_id AND b.last_id::bigint = c.first_id + (c.signed - 1)
            END AS in_order
    )
    SELECT array_agg(done.slot) FILTER (WHERE done.in_order IS NOT TRUE) INTO v_disordered FROM done;

    IF v_disordered IS NOT NULL THEN
        FOR v_row IN
            SELECT c.slot, c.signed, c.listed, c.first_id, b.batch_no, b.first_id AS low, b.last_id AS high, b.ids
            FROM unnest(p_batch_no, p_signed, v_listed, p_first_id)
                 WITH ORDINALITY AS c (batch_no, signed, listed, first_id, slot)
            JOIN vaultstream.batches b ON b.job_no = p_job_no AND b.batch_no = ANY (v_open) AND b.batch_no = c.batch_no
            WHERE c.slot = ANY (v_disordered)
        LOOP
            IF ARRAY(SELECT id FROM unnest(
                    CASE WHEN v_row.first_id IS NULL THEN p_record_id[v_row.listed + 1 : v_row.listed + v_row.signed]::text[]
                    ELSE ARRAY(SELECT (v_row.first_id + n)::text FROM generate_series(0, v_row.signed - 1) AS n) END
                    || ARRAY(SELECT d.id FROM unnest(p_dead_slot, p_dead_id) AS d (slot, id) WHERE d.slot = v_row.slot)
                ) AS id ORDER BY id COLLATE "C")
               <> ARRAY(SELECT id FROM unnest(coalesce(
                    v_row.ids, ARRAY(SELECT generate_series(v_row.low::bigint, v_row.high::bigint)::text))
                ) AS id ORDER BY id COLLATE "C") THEN
                RAISE invalid_parameter_value USING MESSAGE = format('the records are not those of batch %s', v_row.batch_no);
            END IF;
        END LOOP;
    END IF;

    -- No record of a pending batch has a signature. Checking first would cost as much as the insert.
    -- If a signature exists nevertheless, the existing one stays. A trigger of the table can raise both errors, at each attempt.
    -- A commit of batches 0, which never exist, is a rehearsal: it plans all statements, and writes no row.
    WHILE v_found IS NULL AND (v_expected > 0 OR 0 = ALL (p_batch_no)) LOOP
        BEGIN
            EXECUTE format('SELECT vaultstream.%I($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)', 'insert_signatures_' || p_job_no)
            INTO v_found
            USING p_first_id, p_record_id, p_width, p_rows, p_key_no, p_epoch, v_times, p_signed, v_before, v_listed, v_accepted, v_again;
        EXCEPTION
            WHEN undefined_function THEN
                -- A function of version 32 may create a job while the schema is brought to a later one. A rehearsal defines nothing.
                IF v_defined OR v_expected = 0 THEN
                    RAISE;
                END IF;
                v_defined := true;
                BEGIN
                    PERFORM vaultstream.define_insert(p_job_no, pg_typeof(p_record_id));
                EXCEPTION WHEN duplicate_function OR unique_violation THEN
                    NULL;  -- it is there, or another commit has just defined it
                END;
            WHEN unique_violation THEN
                IF v_again THEN
                    RAISE;
                END IF;
                v_again := true;
        END;
    END LOOP;
    IF v_found <> v_expected THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a record is not of its batch, or comes twice';
    END IF;

    INSERT INTO vaultstream.statements (job_no, batch_no, key_no, epoch, body, signature)
    SELECT p_job_no, c.batch_no, c.key_no, c.epoch, c.body, c.signature
    FROM unnest(p_batch_no, p_key_no, p_epoch, p_statement, p_statement_signature, v_accepted)
         AS c (batch_no, key_no, epoch, body, signature, accepted)
    WHERE c.accepted AND c.body IS NOT NULL;

    IF cardinality(p_dead_slot) > 0 THEN
        PERFORM vaultstream.add_dead_letters(
            p_job_no, p_batch_no, v_accepted, v_now, p_dead_slot, p_dead_id, p_dead_reason, p_dead_message);
    END IF;

    RETURN QUERY
    SELECT s::int, CASE WHEN v_accepted[s] THEN 'committed' WHEN v_pending[s] AND (v_late[s] OR NOT v_held[s]) THEN 'fenced' ELSE 'superseded' END
    FROM generate_subscripts(p_batch_no, 1) AS s;
END $$;
