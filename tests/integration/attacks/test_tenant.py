"""What someone who has the logins of one tenant tries on the jobs, keys and batches of another, and of no tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from integration.attacks.tenant_sight import (
    ANN,
    READABLE,
    Jobs,
    end_a_lease_of_each,
    only,
    seen_by,
)
from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, signatures_of, signed
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS
from vaultstream.store.attestations import AttestationKind, add_attestation, newest_attested
from vaultstream.store.batches import fail_batch
from vaultstream.store.jobs import Job, find_job, list_jobs
from vaultstream.store.leases import claim_batches, commit_batches, release_leases, renew_leases
from vaultstream.store.logs import (
    EntryKind,
    NewEntry,
    add_checkpoint,
    append_entries,
    find_job_log,
    lock_log,
    newest_seal,
)

pytestmark = pytest.mark.integration

SHOP, BANK = TENANTS
PARTS = ("keys", "records", "signing", "auditor")


@pytest.fixture
async def owner(tenants_database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(tenants_database.urls["owner"]) as connection:
        yield connection


@pytest.fixture
async def jobs(owner: asyncpg.Connection) -> AsyncIterator[Jobs]:
    made = []
    for tenant in (SHOP, BANK, None):
        job = await add_job(owner, keys=2, tenant=tenant, retries={"maxAttempts": 3})
        await add_batches(owner, job, [1], [2])
        await owner.execute(
            "INSERT INTO vaultstream.key_material SELECT key_no, 1, 'k', 'wrapped' FROM vaultstream.keys WHERE job_no = $1",
            job.job_no,
        )
        await owner.execute(
            "INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message) "
            "VALUES ($1, '9', 1, 'RecordGone', 'gone')",
            job.job_no,
        )
        await owner.execute(
            "INSERT INTO vaultstream.cleared_dead_letters SELECT *, now(), 'me' FROM vaultstream.dead_letters WHERE job_no = $1",
            job.job_no,
        )
        await owner.execute(
            "INSERT INTO vaultstream.statements SELECT job_no, 99, key_no, 1, '', '' FROM vaultstream.keys WHERE job_no = $1 LIMIT 1",
            job.job_no,
        )
        await owner.execute(
            "INSERT INTO vaultstream.logs (origin, job_no, tenant) VALUES ($1, $2, $3)",
            job.token,
            job.job_no,
            tenant,
        )
        await owner.execute(
            "INSERT INTO vaultstream.log_entries (log_no, index, kind, job_no, batch_no, leaf) "
            "SELECT log_no, 0, 'statement', job_no, 99, sha256('') FROM vaultstream.logs WHERE job_no = $1",
            job.job_no,
        )
        await owner.execute(
            "INSERT INTO vaultstream.checkpoints (log_no, size, note) "
            "SELECT log_no, 1, '' FROM vaultstream.logs WHERE job_no = $1",
            job.job_no,
        )
        await owner.execute(
            "INSERT INTO vaultstream.attestations (checkpoint_no, kind, attester, value) "
            "SELECT checkpoint_no, 'timestamp', '', '' FROM vaultstream.checkpoints JOIN vaultstream.logs USING (log_no) WHERE job_no = $1",
            job.job_no,
        )
        made.append(job)
    yield Jobs(*made)
    for job in made:
        await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.fixture(params=["bank", "free"])
def job(jobs: Jobs, request: pytest.FixtureRequest) -> Job:
    """A job that is not the shop's."""
    found: Job = getattr(jobs, request.param)
    return found


@pytest.mark.parametrize("part", PARTS)
async def test_a_tenants_login_sees_the_rows_of_its_own_jobs_alone(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs, part: str
) -> None:
    await end_a_lease_of_each(owner, jobs)
    for tenant, job in ((SHOP, jobs.shop), (BANK, jobs.bank)):
        seen = await seen_by(tenants_database, owner, f"{part}-{tenant}")
        assert seen == only(job, part)


@pytest.mark.parametrize("part", ["keys", "records", "signing"])
async def test_a_workers_login_without_a_tenant_sees_only_jobs_without_one(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs, part: str
) -> None:
    await end_a_lease_of_each(owner, jobs)
    assert await seen_by(tenants_database, owner, part) == only(jobs.free, part)


@pytest.mark.parametrize("part", ["operator", "auditor"])
async def test_the_operator_and_an_auditor_without_a_tenant_see_all_jobs(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs, part: str
) -> None:
    await end_a_lease_of_each(owner, jobs)
    everything = {job.job_no for job in jobs}
    assert await seen_by(tenants_database, owner, part) == dict.fromkeys(READABLE[part], everything)


async def test_a_tenants_signer_reads_no_wrapped_key_of_another(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs
) -> None:
    theirs = [
        row["key_no"]
        for row in await owner.fetch(
            "SELECT key_no FROM vaultstream.keys WHERE job_no = ANY ($1)",
            [jobs.bank.job_no, jobs.free.job_no],
        )
    ]
    async with connect(tenants_database.urls[f"signing-{SHOP}"]) as signer:
        assert (
            await signer.fetch("SELECT wrapped FROM vaultstream.key_material WHERE key_no = ANY ($1)", theirs)
            == []
        )
        assert await signer.fetchval("SELECT count(*) FROM vaultstream.key_material") == 2
        assert [job.token for job in await list_jobs(signer)] == [jobs.shop.token]
        assert await find_job(signer, jobs.bank.token) is None


@pytest.mark.parametrize("role", ["vaultstream_signing", "none"])
async def test_another_current_role_shows_a_login_no_more(
    tenants_database: GuardedDatabase, jobs: Jobs, role: str
) -> None:
    async with connect(tenants_database.urls[f"signing-{SHOP}"]) as signer:
        await signer.execute(f"SET ROLE {role}")
        assert [job.token for job in await list_jobs(signer)] == [jobs.shop.token]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await claim_batches(signer, jobs.bank.job_no, ANN, [1], seconds=30)
        for refused in (f"SET ROLE vaultstream_tenant_{BANK}", "SET SESSION AUTHORIZATION postgres"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await signer.execute(refused)


async def test_a_tenants_signer_claims_commits_and_fails_nothing_of_another(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs, job: Job
) -> None:
    own = "signing" + (f"-{BANK}" if job is jobs.bank else "")
    async with (
        connect(tenants_database.urls[f"signing-{SHOP}"]) as signer,
        connect(tenants_database.urls[own]) as theirs,
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="belongs to another tenant"):
            await claim_batches(signer, job.job_no, ANN, [1], seconds=30)
        lease = await claim_one(theirs, job, ANN, 1)
        batch = signed(1, lease, [1])
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await commit_batches(signer, job.job_no, ANN, [batch], id_type="bigint")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fail_batch(signer, job.job_no, ANN, 1, lease, error="buried")
        assert await renew_leases(signer, ANN, [lease], seconds=30) == [lease]
        await release_leases(signer, ANN, [lease])
        mine = await claim_one(signer, jobs.shop, ANN, 1)
        outcomes = await commit_batches(
            signer, jobs.shop.job_no, ANN, [signed(1, lease, [1])], id_type="bigint"
        )
        assert "committed" not in str(outcomes)  # a key of another tenant signs none of its records
        await release_leases(signer, ANN, [mine])
        await commit_batches(theirs, job.job_no, ANN, [batch], id_type="bigint")  # the lease is still held
    assert set(await signatures_of(owner, job)) == {1}
    assert await signatures_of(owner, jobs.shop) == {}
    assert await owner.fetchval(
        "SELECT bool_and(attempts = 0) FROM vaultstream.batches WHERE job_no = $1", job.job_no
    )


async def test_a_tenants_records_login_opens_and_changes_no_log_of_another(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs, job: Job
) -> None:
    theirs = await find_job_log(owner, job.job_no)
    assert theirs is not None
    entry = NewEntry(kind=EntryKind.AUDIT_EVENT, leaf=bytes(32), body="{}")
    async with connect(tenants_database.urls[f"records-{SHOP}"]) as records:
        for origin, job_no, tenant in (
            ("new.example", job.job_no, job.tenant),
            ("new.example", job.job_no, SHOP),
            ("new.example", None, job.tenant),
            (job.token, job.job_no, job.tenant),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await lock_log(records, origin, job_no=job_no, tenant=tenant)
        for job_no, tenant in ((jobs.shop.job_no, SHOP), (None, SHOP)):
            with pytest.raises(asyncpg.InvalidParameterValueError, match="of another job or tenant"):
                await lock_log(records, job.token, job_no=job_no, tenant=tenant)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await append_entries(records, theirs, job.job_no, [entry])
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await add_checkpoint(records, theirs, b"mine")
        checkpoint = await newest_attested(owner, theirs)
        assert checkpoint is not None
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await add_attestation(records, checkpoint, AttestationKind.TIMESTAMP, "mine", b"x")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await newest_seal(records, job.job_no)
        assert await find_job_log(records, job.job_no) is None
        own = await lock_log(
            records,
            f"example/tenants/{SHOP}/jobs/{jobs.shop.token}",
            job_no=jobs.shop.job_no,
            tenant=SHOP,
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await append_entries(records, own, job.job_no, [entry])  # about another's job
        assert (await append_entries(records, own, jobs.shop.job_no, [entry])).size == 1
    assert await find_job_log(owner, job.job_no) == theirs


async def test_a_tenants_keys_login_ends_rewraps_and_adds_no_key_of_another(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs, job: Job
) -> None:
    async with connect(tenants_database.urls[f"keys-{SHOP}"]) as keys:
        for state in ("retired", "revoked"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="belongs to another tenant"):
                await keys.fetch(
                    "SELECT vaultstream.end_keys($1, $2, $3)", job.job_no, [f"{job.token}-1"], state
                )
        await keys.execute("UPDATE vaultstream.key_material SET wrapped = 'mine', version = 2")
        with pytest.raises(asyncpg.CheckViolationError, match="is none for job"):
            await keys.execute(
                "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) "
                "VALUES ($1, 9, 'mine', 'ED25519', 'mine')",
                job.job_no,
            )
        key_no = await owner.fetchval(
            "SELECT min(key_no) FROM vaultstream.keys WHERE job_no = $1", job.job_no
        )
        await owner.execute("DELETE FROM vaultstream.key_material WHERE key_no = $1", key_no)
        with pytest.raises(asyncpg.CheckViolationError, match="is not active"):  # it does not see the key
            await keys.execute("INSERT INTO vaultstream.key_material VALUES ($1, 1, 'k', 'mine')", key_no)
    changed = await owner.fetch(
        "SELECT DISTINCT k.job_no FROM vaultstream.key_material m JOIN vaultstream.keys k USING (key_no) "
        "WHERE m.wrapped = 'mine'"
    )
    assert [row["job_no"] for row in changed] == [jobs.shop.job_no]
    assert await owner.fetchval(
        "SELECT bool_and(state = 'active') FROM vaultstream.keys WHERE job_no = $1", job.job_no
    )


async def test_a_tenants_records_login_plans_and_publishes_nothing_of_another(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs, job: Job
) -> None:
    before = await find_job(owner, job.token)
    async with connect(tenants_database.urls[f"records-{SHOP}"]) as records:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await records.execute(
                "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id) "
                "VALUES ($1, 99, 1, '9', '9')",
                job.job_no,
            )
        await records.execute("UPDATE vaultstream.jobs SET published_through = 2, message = 'mine'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await records.execute("UPDATE vaultstream.jobs SET tenant = $1", BANK)
    assert await find_job(owner, job.token) == before
    mine = await find_job(owner, jobs.shop.token)
    assert mine is not None
    assert mine.message == "mine"


async def test_signatures_are_visible_to_their_own_tenants_auditor(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection, jobs: Jobs
) -> None:
    for job in jobs:
        lease = await claim_one(owner, job, ANN, 1)
        await commit_batches(owner, job.job_no, ANN, [signed(1, lease, [1])], id_type="bigint")
    counts = {}
    for login in (f"auditor-{SHOP}", "auditor"):
        async with connect(tenants_database.urls[login]) as auditor:
            counts[login] = [
                await auditor.fetchval(f"SELECT count(*) FROM {job.signatures_table}") for job in jobs
            ]
    assert counts == {f"auditor-{SHOP}": [1, 0, 0], "auditor": [1, 1, 1]}


async def test_a_workers_login_without_a_tenant_acts_on_no_tenants_job(
    tenants_database: GuardedDatabase, jobs: Jobs
) -> None:
    async with connect(tenants_database.urls["signing"]) as signer:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="belongs to another tenant"):
            await claim_batches(signer, jobs.shop.job_no, ANN, [1], seconds=30)
        assert await claim_one(signer, jobs.free, ANN, 1)
    async with connect(tenants_database.urls["keys"]) as keys:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await keys.fetch("SELECT vaultstream.end_keys($1, '{}', 'revoked')", jobs.shop.job_no)


async def test_a_job_of_a_tenant_without_a_role_is_hidden_from_every_worker(
    tenants_database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    job = await add_job(owner, tenant="nobody")
    for login in ("signing", f"signing-{SHOP}"):
        async with connect(tenants_database.urls[login]) as signer:
            assert await find_job(signer, job.token) is None
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def test_a_login_belongs_to_a_tenant_through_any_number_of_roles(
    tenants_database: GuardedDatabase, jobs: Jobs
) -> None:
    admin = await asyncpg.connect(tenants_database.superuser_url)
    login, inner, outer = '"Odd-Login"', '"inner-team"', '"outer-team"'
    try:
        await admin.execute(f"CREATE ROLE {inner} IN ROLE vaultstream_tenant_{SHOP}")
        await admin.execute(f"CREATE ROLE {outer} IN ROLE {inner}")
        await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'odd' IN ROLE {outer}, vaultstream_signing")
        async with connect(tenants_database.urls["signing"]) as signing:
            assert [job.token for job in await list_jobs(signing)] == [jobs.free.token]
        url = tenants_database.urls["signing"].split("@", 1)[1]
        async with connect(f"postgresql://Odd-Login:odd@{url}") as odd:
            assert [job.token for job in await list_jobs(odd)] == [jobs.shop.token]
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await claim_batches(odd, jobs.free.job_no, ANN, [1], seconds=30)
    finally:
        for role in (login, outer, inner):
            await admin.execute(f"DROP ROLE IF EXISTS {role}")
        await admin.close()


async def test_every_table_that_belongs_to_jobs_has_row_security(
    owner: asyncpg.Connection, jobs: Jobs
) -> None:
    rows = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'vaultstream'::regnamespace AND relkind = 'r' "
        "AND NOT (relrowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polname = 'tenant'))"
    )
    assert [row["relname"] for row in rows] == ["schema_version"]


async def test_every_function_that_takes_a_job_and_runs_as_the_owner_asks_whose_it_is(
    owner: asyncpg.Connection, jobs: Jobs
) -> None:
    rows = await owner.fetch(
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'vaultstream'::regnamespace AND prosecdef "
        "AND 'p_job_no' = ANY (proargnames)"
    )
    asking = {row["proname"] for row in rows if "vaultstream.require_job(p_job_no)" in row["prosrc"]}
    # The operator adopts jobs that have no tenant; only the owner accepts a source.
    assert {row["proname"] for row in rows} - asking == {"adopt_job", "accept_source"}
    assert len(asking) >= 6
