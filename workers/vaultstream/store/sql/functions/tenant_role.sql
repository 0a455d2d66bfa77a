-- The role whose members see the jobs of a tenant, cut to the 63 characters of a name in Postgres. The chart forms it alike.
CREATE OR REPLACE FUNCTION vaultstream.tenant_role(p_tenant text)
RETURNS name LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN length(role) <= 63 THEN role ELSE left(role, 54) || '_' || left(encode(sha256(role::bytea), 'hex'), 8) END
    FROM (SELECT 'vaultstream_tenant_' || p_tenant AS role) AS whole
$$;
