-- Commits batches in one transaction, each under the fence of its own lease and with its own row in the lease history.
-- Arrays with one element per batch come first; the position of an element is the batch's slot, from 1. Then follow the signed
-- records, slot by slot: their ids, and p_rows, with p_width bytes per record: the payload's SHA-256 (32 bytes), the length of
-- the signature (2 bytes, big-endian), the signature, and padding. This costs a third of two bytea arrays, on both ends.
-- Returns for each slot:
--   committed   its signatures and dead letters were written
--   fenced      its lease was no longer held: nothing was written
--   superseded  the batch was already settled, or is settled by another slot (a redelivery, or a commit whose answer was
--               lost): nothing was written, and its key, if it was still held, is free
CREATE OR REPLACE FUNCTION vaultstream.commit_batches(
    p_job_no int, p_holder text,
    p_batch_no bigint[], p_key_no int[], p_epoch int[], p_signed int[], p_dead int[],
    p_record_id anyarray, p_width int, p_rows bytea,
    p_dead_slot int[], p_dead_id text[], p_dead_reason text[], p_dead_message text[])
RETURNS TABLE (slot int, outcome text) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now      timestamptz := '-infinity';
    v_open     bigint[];
    v_pending  boolean[];
    v_accepted boolean[] := array_fill(false, ARRAY[cardinality(p_batch_no)]);
    v_held     boolean[] := array_fill(false, ARRAY[cardinality(p_batch_no)]);
    v_leased   timestamptz[] := array_fill(NULL::timestamptz, ARRAY[cardinality(p_batch_no)]);
    v_last     bigint;
    v_row      record;
    v_insert   text := format(
        'INSERT INTO vaultstream.%I (record_id, key_no, epoch, signed_at, digest, signature)
         SELECT r.record_id, b.key_no, b.epoch, $6, substr($3, at + 1, 32),
                substr($3, at + 35, get_byte($3, at + 32) * 256 + get_byte($3, at + 33))
         FROM (SELECT key_no, epoch, signed, (sum(signed) OVER (ORDER BY slot) - signed)::int AS before, accepted
               FROM unnest($4, $5, $7, $8) WITH ORDINALITY AS each (key_no, epoch, signed, accepted, slot)) AS b,
              LATERAL unnest($1[b.before + 1 : b.before + b.signed]) WITH ORDINALITY AS r (record_id, n),
              LATERAL (SELECT (b.before + r.n::int - 1) * $2 AS at) AS row
         WHERE b.accepted',
        'signatures_' || p_job_no);
BEGIN
    -- A type that the caller defined could have a cast that runs with the privileges of this function's owner.
    IF pg_typeof(p_record_id) <> ALL ('{bigint[],uuid[],text[]}'::regtype[]) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'record ids are bigint, uuid or text';
    END IF;

    IF octet_length(p_rows) <> p_width * cardinality(p_record_id)
       OR cardinality(p_record_id) <> (SELECT coalesce(sum(each), 0) FROM unnest(p_signed) AS each) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'p_rows and p_record_id do not match p_signed';
    END IF;

    -- In order: two deliveries of the same batches wait for each other and never deadlock.
    -- (Here and below, ANY selects the rows: a join with unnest would scan all rows of the job.)
    v_open := ARRAY(
        SELECT b.batch_no FROM vaultstream.batches b
        WHERE b.job_no = p_job_no AND b.batch_no = ANY (p_batch_no) AND b.state = 'pending'
        ORDER BY b.batch_no
        FOR UPDATE);
    v_pending := ARRAY(
        SELECT c.batch_no = ANY (v_open) FROM unnest(p_batch_no) WITH ORDINALITY AS c (batch_no, slot) ORDER BY c.slot);

    -- The fence. Once these rows are locked, nobody else can lease the keys until this transaction ends.
    FOR v_row IN
        SELECT c.slot, k.leased_at
        FROM unnest(p_key_no, p_epoch) WITH ORDINALITY AS c (key_no, epoch, slot)
        JOIN vaultstream.keys k ON k.key_no = c.key_no AND k.epoch = c.epoch
        WHERE k.key_no = ANY (p_key_no)
          AND k.holder = p_holder AND coalesce(k.login, session_user) = session_user
          AND k.job_no = p_job_no AND k.state <> 'revoked' AND k.lease_until > clock_timestamp()
        ORDER BY k.key_no
        FOR NO KEY UPDATE OF k
    LOOP
        v_held[v_row.slot] := true;
        v_leased[v_row.slot] := v_row.leased_at;
        v_now := greatest(v_now, v_row.leased_at + interval '1 microsecond');
    END LOOP;
    v_now := greatest(v_now, clock_timestamp());  -- after the start of each lease, even if the clock was set back

    UPDATE vaultstream.keys k
    SET holder = NULL, login = NULL, lru = nextval('vaultstream.lru'), lease_until = v_now
    WHERE k.key_no = ANY (ARRAY(
        SELECT c.key_no FROM unnest(p_key_no) WITH ORDINALITY AS c (key_no, slot) WHERE v_held[c.slot]));

    -- A batch that was delivered twice to this holder can be in two slots; only the first is accepted.
    FOR v_row IN
        SELECT c.slot, c.batch_no FROM unnest(p_batch_no) WITH ORDINALITY AS c (batch_no, slot)
        WHERE v_pending[c.slot] AND v_held[c.slot]
        ORDER BY c.batch_no, c.slot
    LOOP
        v_accepted[v_row.slot] := v_row.batch_no IS DISTINCT FROM v_last;
        v_last := v_row.batch_no;
    END LOOP;

    INSERT INTO vaultstream.leases (key_no, epoch, holder, login, batch_no, during, outcome)
    SELECT c.key_no, c.epoch, p_holder, session_user, c.batch_no, tstzrange(v_leased[c.slot], v_now),
           CASE WHEN v_accepted[c.slot] THEN 'committed' ELSE 'superseded' END
    FROM unnest(p_key_no, p_epoch, p_batch_no) WITH ORDINALITY AS c (key_no, epoch, batch_no, slot)
    WHERE v_held[c.slot];

    UPDATE vaultstream.batches b
    SET state = 'done', signed = c.signed, dead = c.dead, settled_at = v_now
    FROM unnest(p_batch_no, p_signed, p_dead) WITH ORDINALITY AS c (batch_no, signed, dead, slot)
    WHERE b.job_no = p_job_no AND b.batch_no = ANY (v_open) AND b.batch_no = c.batch_no AND v_accepted[c.slot];

    -- No record of a pending batch has a signature. Checking first would cost as much as the insert.
    -- If a signature exists nevertheless, the existing one stays.
    BEGIN
        EXECUTE v_insert USING p_record_id, p_width, p_rows, p_key_no, p_epoch, v_now, p_signed, v_accepted;
    EXCEPTION WHEN unique_violation THEN
        EXECUTE v_insert || ' ON CONFLICT DO NOTHING'
        USING p_record_id, p_width, p_rows, p_key_no, p_epoch, v_now, p_signed, v_accepted;
    END;

    IF cardinality(p_dead_slot) > 0 THEN
        INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message, died_at)
        SELECT p_job_no, d.record_id, p_batch_no[d.slot], d.reason, d.message, v_now
        FROM unnest(p_dead_slot, p_dead_id, p_dead_reason, p_dead_message) AS d (slot, record_id, reason, message)
        WHERE v_accepted[d.slot]
        ON CONFLICT DO NOTHING;
    END IF;

    RETURN QUERY
    SELECT s::int, CASE WHEN v_accepted[s] THEN 'committed' WHEN v_pending[s] AND NOT v_held[s] THEN 'fenced' ELSE 'superseded' END
    FROM generate_subscripts(p_batch_no, 1) AS s;
END $$;
