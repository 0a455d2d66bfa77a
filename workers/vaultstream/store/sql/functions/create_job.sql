-- Creates a job and the table of its signatures, whose primary key is promise 1: one signature per record.
-- With one table per job, record ids keep their type, rows are narrow, and deletion is instant.
-- A job of a tenant is named <tenant>/<name>.
-- p_source_oid is the relation that the spec names: what gets its name later is never signed under this job's keys. Programs that
-- do not give it, those of version 2, create no jobs.
DROP FUNCTION IF EXISTS vaultstream.create_job(text, text, jsonb, text, text);
DROP FUNCTION IF EXISTS vaultstream.create_job(text, text, jsonb, text, text, text);
CREATE OR REPLACE FUNCTION vaultstream.create_job(
    p_token text, p_name text, p_spec jsonb, p_id_type text, p_owner_uid text DEFAULT NULL, p_tenant text DEFAULT NULL,
    p_source_oid oid DEFAULT NULL)
RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_job_no int;
BEGIN
    IF split_part(p_name, '/', 1) <> p_tenant THEN
        RAISE invalid_parameter_value USING MESSAGE = format('job %s is not named after its tenant, %s', p_name, p_tenant);
    END IF;
    IF NOT vaultstream.sees(p_tenant) THEN
        RAISE insufficient_privilege USING MESSAGE = format('the login %s creates jobs of its own tenant alone', session_user);
    END IF;

    -- Numbers that were drawn and not used are not lost: the sequence comes round. What a deleted job left keeps its number.
    LOOP
        v_job_no := nextval(pg_get_serial_sequence('vaultstream.jobs', 'job_no'));
        EXIT WHEN NOT EXISTS (SELECT FROM vaultstream.jobs j WHERE j.job_no = v_job_no)
              AND NOT EXISTS (SELECT FROM vaultstream.audited_jobs a WHERE a.job_no = v_job_no);
    END LOOP;
    INSERT INTO vaultstream.jobs (job_no, token, name, spec, id_type, source_oid, owner_uid, tenant, counted) OVERRIDING SYSTEM VALUE
    VALUES (v_job_no, p_token, p_name, p_spec, p_id_type, p_source_oid, p_owner_uid, p_tenant, true);
    PERFORM vaultstream.check_source(p_spec, p_source_oid);

    EXECUTE format(
        'CREATE TABLE vaultstream.%I (
            record_id %s PRIMARY KEY,
            key_no    int NOT NULL,
            epoch     int NOT NULL,
            signed_at timestamptz NOT NULL,
            digest    bytea NOT NULL,  -- SHA-256 of the payload that was signed
            signature bytea NOT NULL
        )',
        'signatures_' || v_job_no,
        CASE p_id_type WHEN 'bigint' THEN 'bigint' WHEN 'uuid' THEN 'uuid' ELSE 'text COLLATE "C"' END);
    EXECUTE format('ALTER TABLE vaultstream.%I ENABLE ROW LEVEL SECURITY', 'signatures_' || v_job_no);
    EXECUTE format('CREATE POLICY tenant ON vaultstream.%I
                        USING ((SELECT vaultstream.sees(j.tenant) FROM vaultstream.jobs j WHERE j.job_no = %s))',
                   'signatures_' || v_job_no, v_job_no);
    -- signatures do not compress; estimates from values would show those of a tenant to others
    EXECUTE format('ALTER TABLE vaultstream.%I ALTER signature SET STORAGE EXTERNAL, ALTER digest SET STORAGE PLAIN,
                        ALTER record_id SET STATISTICS 0, ALTER digest SET STATISTICS 0, ALTER signature SET STATISTICS 0',
                   'signatures_' || v_job_no);
    PERFORM vaultstream.define_insert(v_job_no, (p_id_type || '[]')::regtype);
    IF to_regrole('vaultstream_auditor') IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON vaultstream.%I TO vaultstream_auditor', 'signatures_' || v_job_no);
    END IF;

    INSERT INTO vaultstream.audited_jobs (job_no, token, name, tenant) VALUES (v_job_no, p_token, p_name, p_tenant);
    PERFORM vaultstream.record_event(v_job_no, 'create', jsonb_build_object(
        'job', p_name, 'table', p_spec -> 'records' ->> 'table', 'algorithm', p_spec -> 'keys' ->> 'algorithm',
        'keys', p_spec -> 'keys' ->> 'count', 'batchSize', p_spec ->> 'batchSize', 'ownerUid', p_owner_uid));
    RETURN v_job_no;
END $$;
