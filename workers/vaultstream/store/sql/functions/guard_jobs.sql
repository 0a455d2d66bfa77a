-- What a job is stays as it was created; where it stands only moves forward. The trigger runs with the privileges of whoever
-- changes the row, and knows the schema's owner by them: its functions (retry_dead, delete_job, …) may do more than the roles.
CREATE OR REPLACE FUNCTION vaultstream.guard_jobs() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_moving text[] := '{spec,state,message,started_at,finished_at,deleted_at,upper_id,planned_id,planned,next_batch_no,
                         published_through,tenant,source_oid,counted,cut,splits,found,risen}';
    v_fields text[] := '{records,batchSize,keys,signature,scaling,retries,workers,signer,suspend,activeDeadlineSeconds,finishBy,
                         finishWithin,ttlSecondsAfterFinished,deletionPolicy}';
    v_types  text[] := '{object,number,object,object,object,object,object,object,boolean,number|null,string|null,
                         number|null,number|null,string}';
    v_wrong  text;
BEGIN
    NEW.message := left(NEW.message, 8000);

    IF TG_OP = 'INSERT' OR NEW.spec IS DISTINCT FROM OLD.spec THEN
        v_wrong := CASE
            WHEN octet_length(NEW.spec::text) > 262144 THEN 'spec is larger than 256 KiB'
            -- Readers have such limits too, and would show no job at all.
            WHEN jsonb_path_exists(NEW.spec, '$.**{32}') THEN 'spec is nested too deeply'
            WHEN EXISTS (SELECT FROM jsonb_path_query(NEW.spec, '$.**') AS v WHERE jsonb_typeof(v) = 'number' AND length(v::text) > 40)
                THEN 'spec has a number of more than 40 digits'
            WHEN jsonb_typeof(NEW.spec) <> 'object' THEN 'spec is not an object'
            WHEN NEW.spec - v_fields <> '{}' THEN 'spec has a field that does not exist'
            WHEN EXISTS (
                SELECT FROM unnest(v_fields, v_types) AS f (field, types)
                WHERE jsonb_typeof(NEW.spec -> f.field) <> ALL (string_to_array(f.types, '|'))) THEN 'a field of spec has the wrong type'
            WHEN jsonb_typeof(NEW.spec -> 'retries' -> 'maxAttempts') <> 'number' THEN 'spec.retries.maxAttempts is not a number'
            WHEN jsonb_typeof(NEW.spec -> 'retries' -> 'backoff') <> 'object' THEN 'spec.retries.backoff is not an object'
            WHEN EXISTS (
                SELECT FROM unnest('{activeDeadlineSeconds,finishWithin,ttlSecondsAfterFinished}'::text[], '{1,1,0}'::int[]) AS f (field, lowest)
                WHERE CASE WHEN jsonb_typeof(NEW.spec -> f.field) = 'number' THEN
                    (NEW.spec ->> f.field)::numeric NOT BETWEEN f.lowest AND 2147483647 OR scale((NEW.spec ->> f.field)::numeric) > 0 END)
                THEN 'spec.activeDeadlineSeconds, finishWithin or ttlSecondsAfterFinished is no whole number up to 2147483647'
            WHEN (NEW.spec -> 'records' ->> 'table' <> '') IS NOT TRUE THEN 'spec.records.table names no table'
            WHEN ((NEW.spec ->> 'batchSize')::int BETWEEN 1 AND 20000) IS NOT TRUE THEN 'spec.batchSize is not from 1 to 20000'
            WHEN ((NEW.spec -> 'keys' ->> 'count')::int >= 1) IS NOT TRUE THEN 'spec.keys.count is not at least 1'
            WHEN (coalesce((NEW.spec -> 'retries' ->> 'maxAttempts')::int, 5) BETWEEN 1 AND 100) IS NOT TRUE
                THEN 'spec.retries.maxAttempts is not from 1 to 100'
        END;
    END IF;
    IF TG_OP = 'INSERT' THEN
        v_wrong := coalesce(v_wrong, CASE
            WHEN (NEW.token ~ '^[a-z0-9-]{1,64}$') IS NOT TRUE THEN 'the token can''t be a part of a subject'
            WHEN (NEW.name <> '' AND length(NEW.name) <= 400 AND NEW.name !~ '[[:cntrl:]]') IS NOT TRUE
                THEN 'the name is empty, too long, or has control characters'
        END);
        IF v_wrong IS NOT NULL THEN
            RAISE check_violation USING MESSAGE = format('job %s: %s', NEW.token, v_wrong);
        END IF;
        RETURN NEW;
    END IF;

    v_wrong := coalesce(v_wrong, CASE
        -- What was not known at its creation can still be filled in, once.
        WHEN NOT (to_jsonb(NEW) - v_moving) @> jsonb_strip_nulls(to_jsonb(OLD) - v_moving) THEN 'what a job was created with can''t be changed'
        WHEN OLD.spec -> 'records' IS DISTINCT FROM NEW.spec -> 'records' THEN 'spec.records can''t be changed'
        WHEN OLD.spec -> 'batchSize' IS DISTINCT FROM NEW.spec -> 'batchSize' THEN 'spec.batchSize can''t be changed'
        WHEN OLD.spec -> 'keys' IS DISTINCT FROM NEW.spec -> 'keys' THEN 'spec.keys can''t be changed'
        WHEN OLD.spec -> 'signature' IS DISTINCT FROM NEW.spec -> 'signature' THEN 'spec.signature can''t be changed'
    END);
    IF v_wrong IS NULL AND NOT pg_has_role(
            current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE') THEN
        v_wrong := CASE
            WHEN OLD.deleted_at IS NOT NULL THEN 'it was deleted'
            WHEN NEW.tenant IS DISTINCT FROM OLD.tenant OR NEW.deleted_at IS NOT NULL
                OR to_jsonb(NEW) -> 'source_oid' IS DISTINCT FROM to_jsonb(OLD) -> 'source_oid' THEN 'only its functions do that'
            WHEN NEW.state <> OLD.state AND NOT (OLD.state, NEW.state) IN (
                ('Pending', 'Running'), ('Pending', 'Suspended'), ('Running', 'Suspended'), ('Suspended', 'Running'),
                ('Suspended', 'Pending'), ('Running', 'Complete'), ('Running', 'Failed'), ('Suspended', 'Failed'))
                THEN format('from %s, it can''t become %s', OLD.state, NEW.state)
            WHEN NEW.state <> OLD.state AND 'Suspended' IN (OLD.state, NEW.state) AND NEW.state <> 'Failed'
                AND NOT coalesce(pg_has_role(current_user, to_regrole('vaultstream_operator'), 'USAGE'), false)
                THEN 'only the operator suspends and resumes'
            WHEN NEW.state = 'Pending' AND OLD.state <> 'Pending' AND OLD.started_at IS NOT NULL THEN 'it has started'
            WHEN NEW.state = 'Running' AND OLD.state <> 'Running' AND NEW.started_at IS NULL THEN 'it has not started'
            -- Batches that an older snapshot does not show would be left out.
            WHEN NEW.state = 'Complete' AND OLD.state <> 'Complete'
                AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
                THEN 'it is completed at the isolation level READ COMMITTED'
            WHEN NEW.state = 'Complete' AND OLD.state <> 'Complete' AND (NOT NEW.planned OR EXISTS (
                SELECT FROM vaultstream.batches b WHERE b.job_no = NEW.job_no AND b.state = 'pending'))
                THEN 'it is not complete: records are to be planned or signed'
            -- Programs of older versions compare with a clock of their own.
            WHEN NEW.state = 'Failed' AND OLD.state <> 'Failed' AND (
                OLD.started_at + make_interval(secs => (OLD.spec ->> 'activeDeadlineSeconds')::float8)
                < clock_timestamp() + interval '5 seconds') IS NOT TRUE
                THEN 'its active deadline is not over'
            WHEN NEW.finished_at IS DISTINCT FROM OLD.finished_at
                AND (NEW.state = OLD.state OR NEW.state NOT IN ('Complete', 'Failed')) THEN 'it does not end now'
            WHEN NEW.started_at IS DISTINCT FROM OLD.started_at
                AND (OLD.started_at IS NOT NULL OR NEW.state <> 'Running') THEN 'it starts once'
            WHEN NEW.upper_id IS DISTINCT FROM OLD.upper_id AND (OLD.state <> 'Pending' OR OLD.started_at IS NOT NULL)
                THEN 'its highest id is set at its start'
            -- The operator reads both of all jobs, whoever has written them.
            WHEN octet_length(NEW.upper_id) > 2500 OR octet_length(NEW.planned_id) > 2500 THEN 'an id has at most 2,500 bytes'
            WHEN CASE OLD.id_type WHEN 'bigint' THEN NEW.upper_id <> NEW.upper_id::bigint::text OR NEW.planned_id <> NEW.planned_id::bigint::text
                                  WHEN 'uuid' THEN NEW.upper_id <> NEW.upper_id::uuid::text OR NEW.planned_id <> NEW.planned_id::uuid::text END
                THEN 'an id is written as Postgres writes it'
            WHEN NEW.planned IS DISTINCT FROM OLD.planned AND OLD.planned THEN 'it was planned'
            WHEN NEW.planned_id IS DISTINCT FROM OLD.planned_id AND (
                OLD.planned OR NEW.planned_id IS NULL OR CASE OLD.id_type
                    WHEN 'bigint' THEN NEW.planned_id::bigint <= OLD.planned_id::bigint
                                    OR NEW.planned_id::bigint > OLD.upper_id::bigint
                    WHEN 'uuid' THEN NEW.planned_id::uuid <= OLD.planned_id::uuid
                                  OR NEW.planned_id::uuid > OLD.upper_id::uuid
                    END) THEN 'planning only moves forward, up to the highest id'
            WHEN NEW.next_batch_no <> OLD.next_batch_no AND NEW.next_batch_no - 1 IS DISTINCT FROM (
                SELECT max(b.batch_no) FROM vaultstream.batches b WHERE b.job_no = NEW.job_no)
                THEN 'next_batch_no follows the last batch'
            WHEN NEW.published_through < OLD.published_through OR NEW.published_through >= NEW.next_batch_no
                AND NEW.published_through <> OLD.published_through THEN 'publishing only moves forward, up to the last batch'
        END;
        -- Deadlines and times to live count from these: they are of this clock.
        IF NEW.started_at IS DISTINCT FROM OLD.started_at THEN
            NEW.started_at := clock_timestamp();
        END IF;
        IF NEW.finished_at IS DISTINCT FROM OLD.finished_at OR NEW.state <> OLD.state AND NEW.state IN ('Complete', 'Failed') THEN
            NEW.finished_at := clock_timestamp();
        END IF;
    END IF;
    IF v_wrong IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = format('job %s: %s', OLD.token, v_wrong);
    END IF;
    RETURN NEW;
END $$;
