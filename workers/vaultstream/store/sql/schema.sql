-- name: installed_schema
SELECT version, works_from FROM vaultstream.schema_version ORDER BY version DESC LIMIT 1

-- name: limit_lock_wait
SELECT set_config('lock_timeout', $1, true)

-- name: lock_migrations
-- One migration at a time on a database. Who may not use the schema can't take a lock that is in its way, unlike an advisory lock.
LOCK TABLE vaultstream.schema_version IN SHARE ROW EXCLUSIVE MODE

-- name: create_schema
CREATE SCHEMA IF NOT EXISTS vaultstream

-- name: create_schema_version
CREATE TABLE vaultstream.schema_version (
    version int PRIMARY KEY,
    works_from int NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: add_schema_version
INSERT INTO vaultstream.schema_version (version, works_from) VALUES ($1, $2)

-- name: list_roles
SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)

-- name: create_role
CREATE ROLE {role} NOLOGIN

-- name: revoke_public_functions
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vaultstream FROM PUBLIC

-- name: try_every_part
-- Reads nothing. Each table is one that a single part alone may read besides the auditor, or that the operator may not.
SELECT FROM vaultstream.leases, vaultstream.key_material, vaultstream.dead_letters, vaultstream.decisions LIMIT 0
