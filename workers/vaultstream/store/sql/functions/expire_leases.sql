-- Ends the leases of a job that have expired: they are written to the history, and their keys move to the tail of the LRU order.
-- An expired lease counts against its batch, if that is still pending: as an attempt if the holder held nothing else, else only
-- as a loss, which makes it a suspect (see claim_batches).
-- A notice with the code VS001 reports the number of leases, and one with the code VS002 the number of records that became dead
-- letters, to programs that count them.
-- Only claim_batches calls this function, with its privileges.
CREATE OR REPLACE FUNCTION vaultstream.expire_leases(p_job_no int)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_batches bigint[];
    v_key     record;
    v_alone   boolean := false;
    v_expired int := 0;
    v_dead    int := 0;
BEGIN
    -- Batches, then the job, then keys: the lock order of commits and of deletions. What is locked is left for the next call.
    v_batches := ARRAY(
        SELECT b.batch_no FROM vaultstream.batches b
        WHERE b.job_no = p_job_no AND b.state = 'pending' AND b.batch_no = ANY (ARRAY(
            SELECT k.batch_no FROM vaultstream.keys k
            WHERE k.job_no = p_job_no AND k.holder IS NOT NULL AND k.lease_until <= clock_timestamp()))
        ORDER BY b.batch_no
        FOR UPDATE SKIP LOCKED);
    IF EXISTS (SELECT FROM vaultstream.keys k
               WHERE k.alone AND k.job_no = p_job_no AND k.holder IS NOT NULL AND k.lease_until <= clock_timestamp()) THEN
        PERFORM FROM vaultstream.jobs j WHERE j.job_no = p_job_no FOR NO KEY UPDATE SKIP LOCKED;
        v_alone := FOUND;
    END IF;

    FOR v_key IN
        SELECT k.key_no, k.key_id, k.epoch, k.holder, k.login, k.leased_at, k.batch_no, k.alone,
               greatest(k.leased_at, k.lease_until) AS until
        FROM vaultstream.keys k
        WHERE k.job_no = p_job_no AND k.holder IS NOT NULL AND k.lease_until <= clock_timestamp()
          AND (v_alone OR NOT k.alone)
          AND (k.batch_no IS NULL OR k.batch_no = ANY (v_batches) OR NOT EXISTS (
              SELECT FROM vaultstream.batches b
              WHERE b.job_no = p_job_no AND b.batch_no = k.batch_no AND b.state = 'pending'))
        ORDER BY k.key_no
        FOR UPDATE OF k SKIP LOCKED
    LOOP
        v_expired := v_expired + 1;
        UPDATE vaultstream.keys k
        SET holder = NULL, login = NULL, lru = nextval('vaultstream.lru'), lease_until = v_key.until
        WHERE k.key_no = v_key.key_no;
        INSERT INTO vaultstream.leases (key_no, epoch, holder, login, batch_no, during, outcome)
        VALUES (v_key.key_no, v_key.epoch, v_key.holder, v_key.login, v_key.batch_no,
                tstzrange(v_key.leased_at, v_key.until), 'expired');
        IF v_key.alone THEN
            v_dead := v_dead + (
                SELECT count(*) FILTER (WHERE c.outcome = 'dead') FROM vaultstream.count_attempt(
                    p_job_no, v_key.batch_no, v_key.key_no, 'SignerLost',
                    format('the lease of %s on key %s expired, and it held nothing else', v_key.holder, v_key.key_id)) AS c);
        ELSE
            UPDATE vaultstream.batches b SET lost = b.lost + 1
            WHERE b.job_no = p_job_no AND b.batch_no = v_key.batch_no AND b.state = 'pending';
        END IF;
    END LOOP;

    IF v_expired > 0 THEN
        RAISE NOTICE USING ERRCODE = 'VS001', MESSAGE = v_expired::text;
    END IF;
    IF v_dead > 0 THEN
        RAISE NOTICE USING ERRCODE = 'VS002', MESSAGE = v_dead::text;
    END IF;
END $$;
