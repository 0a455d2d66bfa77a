-- Refuses a relation that the spec does not name, or that no job may sign: ours and those of Postgres.
-- Only the functions of this schema call it, with their privileges.
CREATE OR REPLACE FUNCTION vaultstream.check_source(p_spec jsonb, p_source_oid oid)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_schema text;
    v_name   text;
BEGIN
    SELECT n.nspname, c.relname INTO v_schema, v_name
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = p_source_oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f');

    IF v_name IS NULL OR v_schema IN ('vaultstream', 'information_schema') OR v_schema LIKE 'pg\_%' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the source is not a table or view that a job may sign';
    END IF;
    IF coalesce(p_spec -> 'records' ->> 'table', '') <> v_schema || '.' || v_name
       AND (coalesce(p_spec -> 'records' ->> 'table', '') <> v_name
            OR position('.' IN v_name) > 0
               AND EXISTS (SELECT FROM pg_namespace s WHERE s.nspname = split_part(v_name, '.', 1))) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the source is not the table or view that the spec names';
    END IF;
END $$;
