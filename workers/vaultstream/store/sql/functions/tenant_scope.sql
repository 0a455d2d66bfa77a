-- Which jobs the login of this session sees: `own` (it is a member of the role of a tenant: the jobs of that tenant, and no
-- others), `none` (a worker, otherwise: the jobs of no tenant), or `all` (anyone else: what the operator and an auditor may do is
-- a matter of grants). session_user, because a login can change current_user with SET ROLE; here that is the owner of this
-- function and of the schema, who sees all.
CREATE OR REPLACE FUNCTION vaultstream.tenant_scope()
RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_roles oid[];
    v_role  oid;
BEGIN
    IF pg_has_role(session_user, current_user, 'USAGE') THEN
        RETURN 'all';
    END IF;

    -- Its roles, then theirs. (A recursive query takes three times as long.)
    v_roles := ARRAY[quote_ident(session_user)::regrole::oid];
    WHILE v_roles <> '{}' LOOP
        v_roles := ARRAY(SELECT m.roleid FROM pg_auth_members m WHERE m.member = ANY (v_roles));
        FOREACH v_role IN ARRAY v_roles LOOP
            IF starts_with(pg_get_userbyid(v_role), 'vaultstream_tenant_') THEN
                RETURN 'own';
            END IF;
        END LOOP;
    END LOOP;
    RETURN CASE WHEN pg_has_role(session_user, to_regrole('vaultstream_keys'), 'MEMBER')
                  OR pg_has_role(session_user, to_regrole('vaultstream_records'), 'MEMBER')
                  OR pg_has_role(session_user, to_regrole('vaultstream_signing'), 'MEMBER') THEN 'none' ELSE 'all' END;
END $$;
