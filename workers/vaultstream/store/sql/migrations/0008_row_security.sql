-- works with programs from version 2
-- Row security: which jobs a login sees. functions/sees.sql and tenant_scope.sql decide; they replace these placeholders in the same
-- transaction. The owner of the schema is not subject to it, nor are the functions that run with the owner's privileges.
-- No policy names a role: a backup must be restorable on a server without these roles.
CREATE FUNCTION vaultstream.sees(p_tenant text) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT false';
CREATE FUNCTION vaultstream.tenant_scope() RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'own' $$;

-- Everything of a job is visible to who sees the job. A subquery in a policy is subject to the policies of its tables.
-- (SELECT tenant_scope()) is evaluated once per statement: whoever sees all jobs pays nothing per row.
LOCK TABLE vaultstream.batches, vaultstream.jobs, vaultstream.keys, vaultstream.key_material, vaultstream.leases,
    vaultstream.dead_letters, vaultstream.cleared_dead_letters IN ACCESS EXCLUSIVE MODE;
ALTER TABLE vaultstream.jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.key_material ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.leases ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.dead_letters ENABLE ROW LEVEL SECURITY;
ALTER TABLE vaultstream.cleared_dead_letters ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vaultstream.jobs USING ((SELECT vaultstream.tenant_scope()) = 'all' OR vaultstream.sees(tenant));
CREATE POLICY tenant ON vaultstream.keys
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.jobs j WHERE j.job_no = keys.job_no));
CREATE POLICY tenant ON vaultstream.key_material
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.keys k WHERE k.key_no = key_material.key_no));
CREATE POLICY tenant ON vaultstream.batches
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.jobs j WHERE j.job_no = batches.job_no));
CREATE POLICY tenant ON vaultstream.leases
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.keys k WHERE k.key_no = leases.key_no));
CREATE POLICY tenant ON vaultstream.dead_letters
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.jobs j WHERE j.job_no = dead_letters.job_no));
CREATE POLICY tenant ON vaultstream.cleared_dead_letters
    USING ((SELECT vaultstream.tenant_scope()) = 'all' OR EXISTS (SELECT FROM vaultstream.jobs j WHERE j.job_no = cleared_dead_letters.job_no));

DO $$  -- create_job does the same for later tables
DECLARE
    v_table text;
BEGIN
    FOR v_table IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'vaultstream'::regnamespace AND relkind = 'r' AND relname ~ '^signatures_[0-9]+$'
        ORDER BY oid
    LOOP
        EXECUTE format('ALTER TABLE vaultstream.%I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('CREATE POLICY tenant ON vaultstream.%I
                            USING ((SELECT vaultstream.sees(j.tenant) FROM vaultstream.jobs j WHERE j.job_no = %s))',
                       v_table, substr(v_table, 12));
    END LOOP;
END $$;
