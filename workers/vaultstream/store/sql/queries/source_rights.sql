-- Whether this user may read the columns $2 and $3 of the relation $1, given as `schema.name`, quoted where need be.
SELECT current_user::text AS login, n.nspname::text AS schema, has_schema_privilege(n.oid, 'USAGE') AS enters,
       has_column_privilege(c.oid, $2::text, 'SELECT') AND has_column_privilege(c.oid, $3::text, 'SELECT') AS reads
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE format('%I.%I', n.nspname, c.relname) = $1
