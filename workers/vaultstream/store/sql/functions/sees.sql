-- Whether the login of this session sees the jobs of a tenant; NULL: those that belong to no tenant. session_user, because a
-- login can change current_user with SET ROLE; here that is the owner of this function and of the schema, who sees all.
--   a member of the role of a tenant   the jobs of that tenant, and no others
--   a worker, otherwise                the jobs of no tenant
--   anyone else                        all: what the operator and an auditor may do is a matter of grants
-- It is called for each claim and commit: pg_has_role and to_regrole use caches, a scan of pg_roles would take a hundred times
-- as long.
CREATE OR REPLACE FUNCTION vaultstream.sees(p_tenant text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_roles oid[];
    v_role  oid;
BEGIN
    IF pg_has_role(session_user, current_user, 'USAGE') THEN
        RETURN true;
    END IF;
    IF pg_has_role(session_user, to_regrole(quote_ident(vaultstream.tenant_role(p_tenant))), 'MEMBER') THEN
        RETURN true;
    END IF;

    -- Its roles, then theirs. (A recursive query takes three times as long.)
    v_roles := ARRAY[quote_ident(session_user)::regrole::oid];
    WHILE v_roles <> '{}' LOOP
        v_roles := ARRAY(SELECT m.roleid FROM pg_auth_members m WHERE m.member = ANY (v_roles));
        FOREACH v_role IN ARRAY v_roles LOOP
            IF starts_with(pg_get_userbyid(v_role), 'vaultstream_tenant_') THEN
                RETURN false;
            END IF;
        END LOOP;
    END LOOP;
    RETURN p_tenant IS NULL OR NOT coalesce(
        pg_has_role(session_user, to_regrole('vaultstream_keys'), 'MEMBER')
        OR pg_has_role(session_user, to_regrole('vaultstream_records'), 'MEMBER')
        OR pg_has_role(session_user, to_regrole('vaultstream_signing'), 'MEMBER'), false);
END $$;
