#!/bin/sh
# What is done with Postgres here, by any image that has its programs: postgres.sh start|ready|wait|logins
# A password is never an argument: it comes from a file, and goes through a pipe.
set -eu
umask 077

for bin in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin; do
    if [ -x "$bin/postgres" ]; then PATH="$bin:$PATH"; fi
done

sockets=${SOCKETS:-/run/postgresql}
settings=${SETTINGS:-/etc/vaultstream/postgres}
secrets=${SECRETS:-/etc/vaultstream/secrets}

# A server that is gone without a word is not waited for, for hours.
patience='connect_timeout=10 keepalives_idle=10 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=25000'

# Runs SQL in a cluster that no server runs on, a statement a line; the first error ends it.
alone() {
    postgres --single -D "$1" -c exit_on_error=on -c log_min_error_statement=panic -c log_checkpoints=off "$2" >/dev/null
}

# As a quoted literal.
literal() {
    printf "'%s'" "$(sed "s/'/''/g" "$1")"
}

start() {
    data="$PGDATA"
    if [ ! -s "$data/PG_VERSION" ]; then
        # Beside its place, and moved there when it is whole: a crash never leaves half of one.
        rm -rf "$data.new"
        initdb --pgdata="$data.new" --username=postgres --encoding=UTF8 --locale=C \
            --auth-local=peer --auth-host=reject >/dev/null
        echo 'CREATE ROLE vaultstream LOGIN CREATEROLE' | alone "$data.new" postgres
        # Else a table that it makes without a schema's name would lie in the one of its own name, which is VaultStream's.
        echo 'ALTER ROLE vaultstream SET search_path = public' | alone "$data.new" postgres
        echo 'CREATE DATABASE vaultstream OWNER vaultstream' | alone "$data.new" postgres
        sync
        mv "$data.new" "$data"
        echo "Made the database cluster in $data"
    fi
    # The password follows its Secret, whatever the volume remembers.
    echo "ALTER ROLE vaultstream PASSWORD $(literal "$secrets/owner")" | alone "$data" postgres
    exec postgres -D "$data" -c config_file="$settings/postgresql.conf"
}

ready() {
    exec pg_isready --quiet --host="$sockets" --dbname=vaultstream --username=vaultstream
}

wait_for_it() {
    until pg_isready --quiet --username=vaultstream; do sleep 1; done
}

# Makes the logins that are listed, a line each: name, group, file of the password, schema of what it reads, if any. Those
# of workers that are listed no longer can't log in any more. What the owner has in such a schema, now or later, its logins
# may read; what lies in the schema public, the workers of all namespaces.
logins() {
    {
        echo '\set ON_ERROR_STOP on'
        echo 'BEGIN;'
        echo 'SET LOCAL client_min_messages = warning;'
        echo 'CREATE TEMPORARY TABLE wanted (login name) ON COMMIT DROP;'
        while read -r login group file schema; do
            printf "\\\\set login '%s'\n\\\\set group '%s'\n\\\\set schema '%s'\n" "$login" "$group" "$schema"
            printf '\\set password `cat %s/%s`\n' "$secrets" "$file"
            cat <<'SQL'
INSERT INTO wanted VALUES (:'login');
SELECT format('CREATE ROLE %I', :'login') WHERE to_regrole(quote_ident(:'login')) IS NULL \gexec
ALTER ROLE :"login" LOGIN PASSWORD :'password';
GRANT :"group" TO :"login";
SELECT format(statement, :'schema', :'login')
  FROM unnest(ARRAY[
           'CREATE SCHEMA IF NOT EXISTS %1$I',
           'GRANT USAGE ON SCHEMA %1$I TO %2$I, vaultstream_auditor',
           'ALTER DEFAULT PRIVILEGES IN SCHEMA %1$I GRANT SELECT ON TABLES TO %2$I, vaultstream_auditor',
           'GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO %2$I, vaultstream_auditor'
       ]) AS statement
 WHERE :'schema' <> ''
\gexec
SQL
        done <"$settings/logins"
        cat <<'SQL'
SELECT DISTINCT format('ALTER ROLE %I NOLOGIN', login.rolname)
  FROM pg_auth_members AS member
  JOIN pg_roles AS login ON login.oid = member.member
 WHERE member.roleid::regrole::text IN ('vaultstream_keys', 'vaultstream_records', 'vaultstream_signing')
   AND login.rolcanlogin
   AND login.rolname LIKE 'vaultstream\_%'
   AND login.rolname NOT IN (SELECT login FROM wanted)
\gexec
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT ON TABLES TO vaultstream_records, vaultstream_signing, vaultstream_auditor;
SELECT format(
           'GRANT SELECT ON %s TO vaultstream_records, vaultstream_signing, vaultstream_auditor', relation.oid::regclass
       )
  FROM pg_class AS relation
 WHERE relation.relnamespace = 'public'::regnamespace
   AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND pg_get_userbyid(relation.relowner) = current_user
\gexec
COMMIT;
SQL
    } | psql --no-psqlrc --quiet "$patience"
}

case "${1:-}" in
    start) start ;;
    ready) ready ;;
    wait) wait_for_it ;;
    logins) logins ;;
    *) echo "usage: postgres.sh start|ready|wait|logins" >&2; exit 2 ;;
esac
