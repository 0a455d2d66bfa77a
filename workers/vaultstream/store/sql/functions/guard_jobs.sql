-- What a job is stays as it was created; where it stands only moves forward. The trigger runs with the privileges of whoever
-- changes the row, and knows the schema's owner by them: its functions (retry_dead, delete_job, …) may do more than the roles.
CREATE OR REPLACE FUNCTION vaultstream.guard_jobs() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_moving text[] := '{spec,state,message,started_at,finished_at,deleted_at,upper_id,planned_id,planned,next_batch_no,
                         published_through,tenant,source_oid}';
    v_wrong  text;
BEGIN
    NEW.message := left(NEW.message, 8000);

    IF TG_OP = 'INSERT' OR NEW.spec IS DISTINCT FROM OLD.spec THEN
        v_wrong := CASE
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
            WHEN NEW.state = 'Complete' AND OLD.state <> 'Complete' AND (NOT NEW.planned OR EXISTS (
                SELECT FROM vaultstream.batches b WHERE b.job_no = NEW.job_no AND b.state = 'pending'))
                THEN 'it is not complete: records are to be planned or signed'
            -- The clock of a worker may be ahead of this one.
            WHEN NEW.state = 'Failed' AND OLD.state <> 'Failed' AND (
                OLD.started_at + make_interval(secs => (OLD.spec ->> 'activeDeadlineSeconds')::float8)
                < clock_timestamp() + interval '1 hour') IS NOT TRUE
                THEN 'its active deadline is not over'
            WHEN NEW.finished_at IS DISTINCT FROM OLD.finished_at
                AND (NEW.state = OLD.state OR NEW.state NOT IN ('Complete', 'Failed')) THEN 'it does not end now'
            WHEN NEW.started_at IS DISTINCT FROM OLD.started_at
                AND (OLD.started_at IS NOT NULL OR NEW.state <> 'Running') THEN 'it starts once'
            WHEN NEW.upper_id IS DISTINCT FROM OLD.upper_id AND OLD.state <> 'Pending' THEN 'its highest id is set at its start'
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
    END IF;
    IF v_wrong IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = format('job %s: %s', OLD.token, v_wrong);
    END IF;
    RETURN NEW;
END $$;
