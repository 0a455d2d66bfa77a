"""What a role may not do in Postgres is refused, although it could be done; and the grants are exactly those of the files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, make_spec, signed
from support.guarded import GuardedDatabase
from vaultstream.errors import DatabaseError
from vaultstream.store import schema
from vaultstream.store.database import explain
from vaultstream.store.jobs import Job
from vaultstream.store.leases import commit_batches
from vaultstream.store.roles import DatabaseRole, create_roles, existing_roles

pytestmark = pytest.mark.integration

ALL = {role.part for role in DatabaseRole}


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    """A job with a batch committed, one pending, a key with its material, and a dead letter."""
    job = await add_job(owner, keys=2)
    first, _ = await add_batches(owner, job, [1, 2], [3, 4])
    lease = await claim_one(owner, job, "somebody", first)
    [outcome] = await commit_batches(
        owner, job.job_no, "somebody", [signed(first, lease, [1], [2])], id_type="bigint"
    )
    assert outcome == "committed"
    await owner.execute(
        "INSERT INTO vaultstream.key_material SELECT key_no, 1, 'kek-0', 'wrapped' FROM vaultstream.keys WHERE job_no = $1",
        job.job_no,
    )
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


FORBIDDEN = [
    # Nobody changes what was signed, by whom, and when: not even those who write it.
    (ALL, "DELETE FROM vaultstream.signatures_{no}"),
    (ALL, "UPDATE vaultstream.signatures_{no} SET signature = ''"),
    (ALL, "INSERT INTO vaultstream.signatures_{no} SELECT 3, key_no, epoch, signed_at, digest, signature FROM vaultstream.signatures_{no}"),
    (ALL, "TRUNCATE vaultstream.signatures_{no}"),
    (ALL, "DROP TABLE vaultstream.signatures_{no}"),
    (ALL, "DELETE FROM vaultstream.statements"),
    (ALL, "UPDATE vaultstream.statements SET body = ''"),
    (ALL, "INSERT INTO vaultstream.statements SELECT job_no, 99, key_no, epoch, body, signature FROM vaultstream.statements"),
    (ALL - {"auditor", "records"}, "SELECT body FROM vaultstream.statements"),
    (ALL, "UPDATE vaultstream.jobs SET stated = stated"),
    # What was done to a job, and by whom, is recorded by what does it.
    (ALL, "INSERT INTO vaultstream.audit_events (job_no, action, login, at, arguments) VALUES ({no}, 'export', 'me', now(), '{{}}')"),
    (ALL, "INSERT INTO vaultstream.audited_jobs (job_no, token, name) VALUES (0, 'mine', 'mine')"),
    (ALL, "SELECT vaultstream.record_event({no}, 'revoke', '{{}}')"),
    (ALL - {"auditor", "records"}, "SELECT login FROM vaultstream.audit_events"),
    (ALL - {"auditor", "records"}, "SELECT token FROM vaultstream.audited_jobs"),
    (ALL - {"records"}, "SELECT vaultstream.number_events({no})"),
    (ALL - {"auditor"}, "SELECT vaultstream.record_export({no}, '{{}}')"),
    (ALL, "DELETE FROM vaultstream.leases"),
    (ALL, "UPDATE vaultstream.leases SET holder = 'me'"),
    (ALL, "INSERT INTO vaultstream.leases SELECT key_no, epoch + 100, holder, 1, 'empty', outcome FROM vaultstream.leases"),
    (ALL, "DELETE FROM vaultstream.dead_letters"),
    (ALL, "INSERT INTO vaultstream.dead_letters VALUES ({no}, '9', 1, 'Because', 'I say so.')"),
    # Logs grow by the functions alone, and by those who seal.
    (ALL, "INSERT INTO vaultstream.logs (origin) VALUES ('mine')"),
    (ALL, "INSERT INTO vaultstream.log_entries SELECT log_no, 99, kind, job_no, 99, '', body, leaf FROM vaultstream.log_entries"),
    (ALL, "INSERT INTO vaultstream.checkpoints (log_no, size, note) SELECT log_no, 0, '' FROM vaultstream.logs"),
    (ALL, "UPDATE vaultstream.logs SET size = size + 1"),
    (ALL, "UPDATE vaultstream.log_entries SET body = NULL WHERE false"),
    (ALL, "DELETE FROM vaultstream.checkpoints WHERE false"),
    (ALL - {"records"}, "SELECT vaultstream.lock_log('one.example', NULL, NULL)"),
    (ALL - {"records"}, "SELECT vaultstream.add_checkpoint(log_no, size, E'one.example\\n0\\n' || encode(sha256(''), 'base64') || E'\\n') FROM vaultstream.lock_log('one.example', NULL, NULL)"),
    (ALL - {"records"}, "SELECT vaultstream.append_entries(log_no, size, {no}, '{{plan}}', '{{NULL}}', '{{x}}', ARRAY(SELECT format('\"jobToken\":\"%s\"', token) FROM vaultstream.jobs WHERE job_no = {no}), ARRAY[sha256('')], sha256('')) FROM vaultstream.lock_log('new.example', NULL, NULL)"),
    (ALL - {"auditor", "records"}, "SELECT body FROM vaultstream.log_entries"),
    (ALL - {"records"}, "SELECT vaultstream.refuse_job({no}, 'no')"),
    ({"keys", "signing"}, "SELECT note FROM vaultstream.checkpoints"),
    ({"keys", "signing"}, "SELECT vaultstream.newest_seal({no})"),
    ({"keys", "records", "signing"}, "SELECT vaultstream.paused_seconds({no}, 1.0)"),
    (ALL - {"auditor", "records"}, "SELECT value FROM vaultstream.attestations"),
    (ALL, "INSERT INTO vaultstream.attestations SELECT checkpoint_no, 'timestamp', 'me', 'x' FROM vaultstream.checkpoints"),
    (ALL, "UPDATE vaultstream.attestations SET value = 'x'"),
    (ALL, "DELETE FROM vaultstream.attestations WHERE false"),
    (ALL - {"records"}, "SELECT vaultstream.add_attestation(checkpoint_no, 'timestamp', 'me', 'x') FROM vaultstream.checkpoints"),
    # Leases are taken and renewed only by the functions.
    (ALL, "UPDATE vaultstream.keys SET epoch = epoch + 1, holder = 'me'"),
    (ALL, "UPDATE vaultstream.keys SET lease_until = 'infinity'"),
    (ALL, "UPDATE vaultstream.keys SET state = 'active'"),
    (ALL, "SELECT vaultstream.lease_keys({no}, 'me', 1, 30)"),
    (ALL, "SELECT vaultstream.expire_leases({no})"),
    (ALL, "SELECT vaultstream.count_attempt({no}, 2, 1, 'SignerLost', 'no')"),
    (ALL - {"signing"}, "SELECT vaultstream.claim_batches({no}, 'me', '{{2}}', 30)"),
    (ALL - {"signing"}, "SELECT vaultstream.renew_keys('me', '{{}}', '{{}}', 30)"),
    (ALL - {"signing"}, "SELECT vaultstream.release_keys('me', '{{}}', '{{}}')"),
    (ALL - {"signing"}, "SELECT vaultstream.fail_batch({no}, 'me', 2, 1, 1, 'no')"),
    (ALL - {"signing"}, "SELECT vaultstream.commit_batches({no}, 'me', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}'::bigint[], 106, '', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}')"),
    (ALL - {"signing"}, "SELECT vaultstream.commit_batches(0, 'me', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}'::bigint[], 106, '', '{{}}', '{{}}', '{{}}', '{{}}')"),
    # Private keys are for those who wrap and unwrap them.
    (ALL - {"keys", "signing"}, "SELECT wrapped FROM vaultstream.key_material"),
    (ALL - {"keys", "signing"}, "SELECT count(*) FROM vaultstream.key_material"),
    (ALL - {"keys"}, "UPDATE vaultstream.key_material SET wrapped = 'mine', version = version + 1"),
    (ALL - {"keys"}, "INSERT INTO vaultstream.key_material SELECT key_no, 2, kek_id, wrapped FROM vaultstream.key_material WHERE false"),
    (ALL, "DELETE FROM vaultstream.key_material"),
    (ALL - {"keys"}, "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) VALUES ({no}, 9, 'mine', 'ED25519', '')"),
    (ALL, "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key, holder) VALUES ({no}, 9, 'mine', 'ED25519', '', 'me')"),
    (ALL, "UPDATE vaultstream.keys SET public_key = 'mine'"),
    (ALL, "DELETE FROM vaultstream.keys WHERE epoch = 0 AND NOT EXISTS (SELECT FROM vaultstream.leases l WHERE l.key_no = keys.key_no)"),
    (ALL - {"keys"}, "SELECT vaultstream.end_keys({no}, '{{}}', 'revoked')"),
    # Jobs are the operator's to make and to end.
    (ALL - {"operator"}, "SELECT vaultstream.create_job('a-token', 'a name', '{{\"records\": {{\"table\": \"nowhere\"}}, \"batchSize\": 1, \"keys\": {{\"count\": 1}}}}', 'bigint', p_source_oid => 'nowhere'::regclass)"),
    (ALL - {"operator"}, "SELECT vaultstream.delete_job({no}, 'Delete')"),
    (ALL - {"operator"}, "SELECT vaultstream.retry_dead({no})"),
    (ALL, "INSERT INTO vaultstream.jobs (token, name, spec, id_type) SELECT 'a-token', 'a name', spec, 'bigint' FROM vaultstream.jobs"),
    (ALL, "DELETE FROM vaultstream.jobs WHERE job_no < 0"),
    (ALL - {"operator"}, "UPDATE vaultstream.jobs SET spec = spec"),
    (ALL - {"operator", "records"}, "UPDATE vaultstream.jobs SET state = 'Failed'"),
    (ALL, "DELETE FROM vaultstream.cleared_dead_letters"),
    (ALL - {"records"}, "UPDATE vaultstream.jobs SET published_through = 0"),
    (ALL - {"records"}, "SELECT vaultstream.pin_source({no}, 'nowhere'::regclass)"),
    (ALL, "SELECT vaultstream.accept_source({no}, 'nowhere'::regclass)"),
    (ALL, "UPDATE vaultstream.jobs SET source_oid = 'nowhere'::regclass"),
    # Batches are cut by the records worker, and settled by functions alone.
    (ALL - {"records"}, "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id) VALUES ({no}, 99, 1, '9', '9')"),
    (ALL, "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, state, signed) VALUES ({no}, 99, 1, '9', '9', 'done', 1)"),
    (ALL, "UPDATE vaultstream.batches SET attempts = 0"),
    (ALL, "DELETE FROM vaultstream.batches"),
    # A part sees only what it works with.
    (ALL - {"auditor"}, "SELECT signature FROM vaultstream.signatures_{no}"),
    (ALL - {"auditor", "records"}, "SELECT record_id, message FROM vaultstream.dead_letters"),
    (ALL - {"auditor", "keys"}, "SELECT holder FROM vaultstream.leases"),
    ({"signing"}, "SELECT epoch FROM vaultstream.keys"),
    ({"records"}, "SELECT holder FROM vaultstream.keys"),
    ({"signing", "keys"}, "SELECT first_id FROM vaultstream.batches"),
    # The schema is its owner's.
    (ALL, "CREATE TABLE vaultstream.mine ()"),
    (ALL, "ALTER TABLE vaultstream.jobs ADD mine int"),
    (ALL, "ALTER FUNCTION vaultstream.renew_keys SECURITY INVOKER"),
    (ALL, "UPDATE vaultstream.schema_version SET works_from = 99"),
]  # fmt: skip


@pytest.mark.parametrize(("refused", "statement"), FORBIDDEN, ids=[text[:70] for _, text in FORBIDDEN])
async def test_an_action_outside_a_role_is_refused(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, refused: set[str], statement: str
) -> None:
    text = statement.format(no=job.job_no)
    attempt = owner.transaction()
    await attempt.start()
    await owner.execute(text)  # nothing but the right is missing
    await attempt.rollback()
    for part in sorted(refused):
        async with connect(database.urls[part]) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(text)


@pytest.mark.parametrize("part", sorted(ALL))
async def test_an_outdated_privilege_is_revoked_by_the_next_migration(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, part: str
) -> None:
    role = f"vaultstream_{part}"
    await owner.execute(f"GRANT CREATE ON SCHEMA vaultstream TO {role}")
    await owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA vaultstream TO {role}")
    await owner.execute(f"GRANT UPDATE (holder) ON vaultstream.keys TO {role}")
    await owner.execute(f"GRANT ALL ON ALL FUNCTIONS IN SCHEMA vaultstream TO {role}, PUBLIC")
    before = await privileges(owner)
    await schema.migrate(owner)
    after = await privileges(owner)
    assert after < before
    assert after == {line for line in after if line[1] != "PUBLIC"}
    await schema.migrate(owner)
    assert await privileges(owner) == after
    async with connect(database.urls[part]) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE vaultstream.keys SET holder = 'me'")


async def privileges(connection: asyncpg.Connection) -> set[tuple[str, str, str]]:
    """Returns all that was granted in the schema, as object, grantee and right."""
    rows = await connection.fetch(
        """
        WITH granted AS (
            SELECT 'schema' AS object, nspacl AS acl FROM pg_namespace WHERE nspname = 'vaultstream'
            UNION ALL SELECT oid::regclass::text, relacl FROM pg_class WHERE relnamespace = 'vaultstream'::regnamespace
            UNION ALL SELECT attrelid::regclass || '.' || attname, attacl FROM pg_attribute
                JOIN pg_class c ON c.oid = attrelid AND relnamespace = 'vaultstream'::regnamespace
            UNION ALL SELECT oid::regprocedure::text, proacl FROM pg_proc WHERE pronamespace = 'vaultstream'::regnamespace
        )
        SELECT object, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee, privilege_type
        FROM granted, aclexplode(acl)
        """
    )
    return {tuple(row) for row in rows}


async def test_a_job_made_later_is_the_auditor_s_to_read_and_no_one_else_s(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    await owner.execute("CREATE TABLE later ()")
    async with connect(database.urls["operator"]) as connection:
        number = await connection.fetchval(
            "SELECT vaultstream.create_job('later', 'later', $1, 'uuid', p_source_oid => 'later'::regclass)",
            make_spec("later").dump(),
        )
    table = f"vaultstream.signatures_{number}"
    granted = {line[1:] for line in await privileges(owner) if line[0] == table}
    assert granted - {line for line in granted if line[0] == database.logins["owner"]} == {
        ("vaultstream_auditor", "SELECT")
    }
    assert (
        await owner.fetchval(f"SELECT relowner::regrole::text FROM pg_class WHERE oid = '{table}'::regclass")
        == (database.logins["owner"])
    )
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", number)


async def test_no_function_that_runs_with_the_owner_s_rights_takes_a_type_of_the_caller_s(
    database: GuardedDatabase, job: Job
) -> None:
    """Its cast would run with those rights."""
    async with connect(database.urls["signing"]) as connection:
        await connection.execute("CREATE TYPE pg_temp.evil AS ENUM ('1')")
        await connection.execute(
            "CREATE FUNCTION pg_temp.ran(pg_temp.evil) RETURNS bigint LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'ran as %', current_user; END $$"
        )
        await connection.execute(
            "CREATE CAST (pg_temp.evil AS bigint) WITH FUNCTION pg_temp.ran AS ASSIGNMENT"
        )
        claimed = await connection.fetchrow(
            "SELECT * FROM vaultstream.claim_batches($1, 'me', '{2}', 30)", job.job_no
        )
        assert claimed is not None
        with pytest.raises(asyncpg.InvalidParameterValueError, match="bigint, uuid or text"):
            await connection.execute(
                "SELECT vaultstream.commit_batches($1, 'me', '{2}', ARRAY[$2::int], ARRAY[$3::int], '{1}', '{0}', "
                "ARRAY['1']::pg_temp.evil[], 106, '', '{}', '{}', '{}', '{}', '{x}', '{x}')",
                job.job_no,
                claimed["key_no"],
                claimed["epoch"],
            )


async def test_every_function_of_the_schema_that_has_its_owner_s_rights_has_a_path_that_no_one_else_sets(
    owner: asyncpg.Connection,
) -> None:
    rows = await owner.fetch(
        "SELECT proname, prosecdef, proconfig FROM pg_proc "
        "WHERE pronamespace = 'vaultstream'::regnamespace AND proname !~ '^insert_signatures_[0-9]+$'"
    )
    definers = {row["proname"]: row["proconfig"] for row in rows if row["prosecdef"]}
    assert {row["proname"] for row in rows} - set(definers) == {
        *(
            "lease_keys",
            "is_leased_to",
            "define_insert",  # and those that it defines
            "expire_leases",
            "count_attempt",
            "require_job",
            "tenant_role",
            "check_source",
            "is_public_key",
            "add_dead_letters",
            "drop_signatures",
            "is_used_by_others",
        ),
        *(
            "guard_jobs",
            "guard_batches",
            "guard_checkpoint",
            "guard_key_pair",
            "guard_keys",
            "guard_key_material",
            "guard_logs",
            "guard_audit",
        ),
        "record_event",
        *("signed_jobs", "signatures_of"),  # they show what their caller may read
    }
    paths = {row["proname"]: row["proconfig"] for row in rows if row["proname"].startswith("guard_")}
    assert len(paths) == 8
    assert set(map(tuple, paths.values())) == {("search_path=pg_catalog, pg_temp",)}
    assert {config[0] for config in definers.values()} == {"search_path=pg_catalog, pg_temp"}


async def test_a_user_in_no_role_is_told_which_grant_it_needs(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    admin = await asyncpg.connect(database.superuser_url)
    name = f"{database.logins['owner']}_nobody"
    await admin.execute(f"CREATE ROLE {name} LOGIN")
    try:
        async with connect(
            database.urls["owner"].replace(database.logins["owner"] + ":", f"{name}:", 1)
        ) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError) as caught:
                await schema.require_current(connection)
        told = explain(caught.value)
        assert isinstance(told, DatabaseError)
        assert "schema vaultstream" in told.message
        assert "GRANT vaultstream_auditor TO" in (told.hint or "")
    finally:
        await admin.execute(f"DROP ROLE {name}")
        await admin.close()


async def test_roles_are_made_once_and_only_by_one_who_may(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    assert await existing_roles(owner) == list(DatabaseRole)
    assert await create_roles(owner) == []
    admin = await asyncpg.connect(database.superuser_url)
    try:
        await admin.execute("ALTER ROLE vaultstream_auditor RENAME TO somebody_else")
        with pytest.raises(DatabaseError, match="may not create the role vaultstream_auditor") as caught:
            await schema.migrate(owner, create_roles=True)
        assert "CREATE ROLE vaultstream_auditor NOLOGIN" in (caught.value.hint or "")
        await schema.migrate(owner)  # a role that is not there is passed over
        assert await create_roles(admin) == [DatabaseRole.AUDITOR]
        await admin.execute("DROP ROLE vaultstream_auditor")
    finally:
        await admin.execute("ALTER ROLE somebody_else RENAME TO vaultstream_auditor")
        await admin.close()
