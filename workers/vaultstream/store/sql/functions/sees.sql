-- Whether the login of this session sees the jobs of a tenant; NULL: those that belong to no tenant.
-- It is called for each claim and commit: pg_has_role and to_regrole use caches, a scan of pg_roles would take a hundred times
-- as long.
CREATE OR REPLACE FUNCTION vaultstream.sees(p_tenant text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_has_role(session_user, current_user, 'USAGE')
       OR pg_has_role(session_user, to_regrole(quote_ident(vaultstream.tenant_role(p_tenant))), 'MEMBER') THEN
        RETURN true;
    END IF;
    RETURN CASE vaultstream.tenant_scope() WHEN 'all' THEN true WHEN 'none' THEN p_tenant IS NULL ELSE false END;
END $$;
