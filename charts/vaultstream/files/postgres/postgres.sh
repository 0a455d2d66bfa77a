#!/bin/sh
# Runs and sets up Postgres with any image that has its programs: postgres.sh start|ready|wait|logins
# Passwords are never arguments: they are read from files and sent through a pipe.
set -eu
umask 077

for bin in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin; do
    if [ -x "$bin/postgres" ]; then PATH="$bin:$PATH"; fi
done

sockets=${SOCKETS:-/run/postgresql}
settings=${SETTINGS:-/etc/vaultstream/postgres}
secrets=${SECRETS:-/etc/vaultstream/secrets}

# Notice within seconds that the server disappeared, not after hours.
patience='connect_timeout=10 keepalives_idle=10 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=25000'

# Runs SQL on a stopped database cluster, one statement per line. The first error ends it.
alone() {
    postgres --single -D "$1" -c exit_on_error=on -c log_min_error_statement=panic -c log_checkpoints=off "$2" >/dev/null
}

# Prints the content of a file as a quoted SQL literal.
literal() {
    printf "'%s'" "$(sed "s/'/''/g" "$1")"
}

start() {
    data="$PGDATA"
    if [ ! -s "$data/PG_VERSION" ]; then
        # Created under another name and moved when complete, so a crash never leaves an incomplete one.
        rm -rf "$data.new"
        initdb --pgdata="$data.new" --username=postgres --encoding=UTF8 --locale=C \
            --auth-local=peer --auth-host=reject >/dev/null
        echo 'CREATE ROLE vaultstream LOGIN CREATEROLE' | alone "$data.new" postgres
        # Without this, a table created without a schema name would be in the schema of the same name, which is VaultStream's.
        echo 'ALTER ROLE vaultstream SET search_path = public' | alone "$data.new" postgres
        echo 'CREATE DATABASE vaultstream OWNER vaultstream' | alone "$data.new" postgres
        sync
        mv "$data.new" "$data"
        echo "Created the database cluster in $data"
    fi
    # The password is that of the Secret, whatever it was when the volume was created.
    echo "ALTER ROLE vaultstream PASSWORD $(literal "$secrets/owner")" | alone "$data" postgres
    # No login of a worker may keep a table from all others by a statement that it may not execute.
    sed '/^ *--/d; /^\\/d' "$settings/no-ddl.sql" | tr '\n' ' ' | alone "$data" vaultstream
    exec postgres -D "$data" -c config_file="$settings/postgresql.conf"
}

ready() {
    exec pg_isready --quiet --host="$sockets" --dbname=vaultstream --username=vaultstream
}

wait_for_it() {
    until pg_isready --quiet --username=vaultstream; do sleep 1; done
}

# Creates the listed logins, one per line: name, group, file of the password and, for some, the role of its tenant; and those that read
# records. A worker's login is a member of its tenant's role, which decides whose jobs it sees, and of no other's. Logins that are no
# longer listed are locked.
logins() {
    {
        echo '\set ON_ERROR_STOP on'
        echo 'BEGIN;'
        # One pod at a time: two that alter a role at once would fail.
        echo "DO 'BEGIN PERFORM pg_advisory_xact_lock(8244163070); END';"
        echo 'SET LOCAL client_min_messages = warning;'
        echo 'CREATE TEMPORARY TABLE wanted (login name) ON COMMIT DROP;'
        while read -r login group file tenant; do
            printf "\\\\set login '%s'\n\\\\set group '%s'\n\\\\set tenant '%s'\n" "$login" "$group" "$tenant"
            printf '\\set password `cat %s/%s`\n' "$secrets" "$file"
            cat <<'SQL'
INSERT INTO wanted VALUES (:'login');
SELECT format('CREATE ROLE %I', :'login') WHERE to_regrole(quote_ident(:'login')) IS NULL \gexec
ALTER ROLE :"login" LOGIN PASSWORD :'password';
GRANT :"group" TO :"login";
SELECT format('CREATE ROLE %I NOLOGIN', :'tenant') WHERE :'tenant' <> '' AND to_regrole(quote_ident(:'tenant')) IS NULL \gexec
SELECT format('GRANT %I TO %I', :'tenant', :'login') WHERE :'tenant' <> '' \gexec
SQL
        done <"$settings/logins"
        sources
        cat <<'SQL'
SELECT DISTINCT format('ALTER ROLE %I NOLOGIN', login.rolname)
  FROM pg_auth_members AS member
  JOIN pg_roles AS login ON login.oid = member.member
 WHERE member.roleid::regrole::text IN ('vaultstream_keys', 'vaultstream_records', 'vaultstream_signing', 'vaultstream_source')
   AND login.rolcanlogin
   AND login.rolname LIKE 'vaultstream\_%'
   AND login.rolname NOT IN (SELECT login FROM wanted)
\gexec
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO vaultstream_source;
SELECT format('GRANT SELECT ON %s TO vaultstream_source', relation.oid::regclass)
  FROM pg_class AS relation
 WHERE relation.relnamespace = 'public'::regnamespace
   AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND pg_get_userbyid(relation.relowner) = current_user
   AND NOT has_table_privilege('vaultstream_source', relation.oid, 'SELECT')
\gexec
-- An older release let workers and the auditor read records by their own logins: by default privileges, which this removes last.
CREATE TEMPORARY TABLE former ON COMMIT DROP AS
SELECT later.defaclnamespace AS space, given.grantee AS role
  FROM pg_default_acl AS later, aclexplode(later.defaclacl) AS given
 WHERE pg_get_userbyid(later.defaclrole) = current_user
   AND pg_get_userbyid(given.grantee) LIKE 'vaultstream\_%'
   AND NOT pg_has_role(given.grantee, 'vaultstream_source', 'MEMBER');
SELECT format('REVOKE SELECT ON %s FROM %s', relation.oid::regclass, former.role::regrole)
  FROM former
  JOIN pg_class AS relation ON relation.relnamespace = former.space
 WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND pg_get_userbyid(relation.relowner) = current_user
\gexec
SELECT format('ALTER DEFAULT PRIVILEGES IN SCHEMA %s REVOKE SELECT ON TABLES FROM %s', space::regnamespace, role::regrole)
  FROM former
\gexec
SELECT format('REVOKE USAGE ON SCHEMA %s FROM %s', space::regnamespace, role::regrole)
  FROM former
 WHERE space <> 'public'::regnamespace
\gexec
COMMIT;
SQL
    } | psql --no-psqlrc --quiet "$patience"
}

# Prints SQL for the logins that read records, one per line: name, file of the password, and a schema that it can read. A table may
# run its owner's code as whoever reads it, so these logins have no privilege in the schema vaultstream. Nothing is granted that they
# have already: a grant alters the table, and signers then repeat their reads of it.
sources() {
    echo "SELECT 'CREATE ROLE vaultstream_source' WHERE to_regrole('vaultstream_source') IS NULL \\gexec"
    while read -r login file schema; do
        printf "\\\\set login '%s'\n\\\\set schema '%s'\n" "$login" "$schema"
        printf '\\set password `cat %s/%s`\n' "$secrets" "$file"
        cat <<'SQL'
INSERT INTO wanted VALUES (:'login');
SELECT format('CREATE ROLE %I', :'login') WHERE to_regrole(quote_ident(:'login')) IS NULL \gexec
ALTER ROLE :"login" LOGIN PASSWORD :'password';
GRANT vaultstream_source TO :"login";
CREATE SCHEMA IF NOT EXISTS :"schema";
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', :'schema', :'login')
 WHERE NOT has_schema_privilege(quote_ident(:'login')::regrole, :'schema', 'USAGE')
\gexec
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema" GRANT SELECT ON TABLES TO :"login";
SELECT format('GRANT SELECT ON %s TO %I', relation.oid::regclass, :'login')
  FROM pg_class AS relation
 WHERE relation.relnamespace = quote_ident(:'schema')::regnamespace
   AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND NOT has_table_privilege(quote_ident(:'login')::regrole, relation.oid, 'SELECT')
\gexec
SQL
    done <"$settings/sources"
}

case "${1:-}" in
    start) start ;;
    ready) ready ;;
    wait) wait_for_it ;;
    logins) logins ;;
    *) echo "usage: postgres.sh start|ready|wait|logins" >&2; exit 2 ;;
esac
