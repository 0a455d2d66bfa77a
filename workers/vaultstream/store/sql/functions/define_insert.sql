-- Defines the function that inserts the signatures of a job. Postgres plans its statements once per session; a statement that
-- commit_batches puts together with the table's name would be planned at each commit, which takes as long as inserting 150 rows.
-- create_job calls it, and commit_batches what it defines; no call of a signer defines anything, because all other signers would wait for
-- its transaction. To change what it defines: drop the former ones in a migration.
-- The arguments are those of commit_batches: ids from p_first_id on, or in p_record_id behind p_listed others; rows behind p_before
-- others; p_accepted slots alone. A signature ends with its row, whatever its length says. p_again: signatures exist; they stay. It returns the number of the records.
CREATE OR REPLACE FUNCTION vaultstream.define_insert(p_job_no int, p_ids regtype)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $define$
DECLARE
    v_name text := 'insert_signatures_' || p_job_no;
    v_into text := format('INSERT INTO vaultstream.%I (record_id, key_no, epoch, signed_at, digest, signature)',
                          'signatures_' || p_job_no);
    v_rows text := $$
        SELECT %s AS record_id, b.key_no, b.epoch, b.signed_at, substr(p_rows, at + 1, 32),
               substr(p_rows, at + 35, least(p_width - 34, get_byte(p_rows, at + 32) * 256 + get_byte(p_rows, at + 33)))
        FROM unnest(p_key_no, p_epoch, p_signed_at, p_signed, p_before, p_listed, p_first_id, p_accepted)
                 AS b (key_no, epoch, signed_at, signed, before, listed, first_id, accepted),
             LATERAL %s,
             LATERAL (SELECT (b.before + n) * p_width AS at) AS row
        WHERE b.accepted AND b.first_id IS %s NULL$$;
    v_counted text := format(v_rows, 'b.first_id + n', 'generate_series(0, b.signed - 1) AS n', 'NOT');
    v_listed  text := format(
        v_rows, 'r.record_id',
        'unnest(p_record_id[b.listed + 1 : b.listed + b.signed]) WITH ORDINALITY AS r (record_id, number), LATERAL (SELECT r.number::int - 1 AS n) AS place', '');
    -- Only integers are counted; of other types, all ids are listed.
    v_all     text := CASE WHEN p_ids = 'bigint[]'::regtype THEN v_counted || ' UNION ALL ' || v_listed ELSE v_listed END;
BEGIN
    -- A job that does not exist yet may get ids of any type.
    IF p_ids IS DISTINCT FROM (SELECT (j.id_type || '[]')::regtype FROM vaultstream.jobs j WHERE j.job_no = p_job_no) THEN
        RAISE datatype_mismatch USING MESSAGE = format('job %s does not exist, or its ids are of another type', p_job_no);
    END IF;
    EXECUTE format(
        'CREATE FUNCTION vaultstream.%I(
            p_first_id bigint[], p_record_id %s, p_width int, p_rows bytea, p_key_no int[], p_epoch int[], p_signed_at timestamptz[],
            p_signed int[], p_before int[], p_listed int[], p_accepted boolean[], p_again boolean)
         RETURNS bigint LANGUAGE plpgsql AS %L', v_name, p_ids, format($$
DECLARE
    v_count bigint := 0;
    v_rows  bigint := 0;
BEGIN
    IF p_again THEN
        SELECT count(DISTINCT r.record_id) INTO v_count FROM (%4$s) AS r;
        %3$s %4$s ON CONFLICT DO NOTHING;
        RETURN v_count;
    END IF;
    IF cardinality(p_record_id) > 0 THEN
        %3$s %2$s;
        GET DIAGNOSTICS v_count = ROW_COUNT;
    END IF;
    IF cardinality(array_remove(p_first_id, NULL)) > 0 THEN
        %3$s %1$s;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
    END IF;
    RETURN v_count + v_rows;
END $$, v_counted, v_listed, v_into, v_all));
    EXECUTE format(
        'REVOKE ALL ON FUNCTION vaultstream.%I(
            bigint[], %s, int, bytea, int[], int[], timestamptz[], int[], int[], int[], boolean[], boolean) FROM PUBLIC', v_name, p_ids);
END $define$;
-- Of jobs from before version 33, and of those whose function a migration has dropped.
DO $$
DECLARE
    v_job record;
BEGIN
    FOR v_job IN SELECT j.job_no, j.id_type FROM vaultstream.jobs j
                 WHERE j.deleted_at IS NULL AND NOT EXISTS (
                     SELECT FROM pg_catalog.pg_proc p
                     WHERE p.pronamespace = 'vaultstream'::regnamespace AND p.proname = 'insert_signatures_' || j.job_no) LOOP
        PERFORM vaultstream.define_insert(v_job.job_no, (v_job.id_type || '[]')::regtype);
    END LOOP;
END $$;
