"""What someone who has the login of the signers tries: locks in a transaction that stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, commit, signatures_of, signed
from support.guarded import GuardedDatabase
from support.signing_login import ANN
from support.waiting import eventually
from vaultstream.doctor import transactions
from vaultstream.doctor.findings import Level
from vaultstream.errors import LockedError
from vaultstream.store.batches import fail_batch
from vaultstream.store.jobs import Job, delete_job
from vaultstream.store.keys import end_keys
from vaultstream.store.leases import COMMITTED, FENCED, commit_batches

pytestmark = pytest.mark.integration


async def test_a_commit_without_a_lease_in_a_transaction_left_open_holds_nobody_up(
    owner: asyncpg.Connection, signer: asyncpg.Connection, other: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    async with other.transaction():
        batch = signed(1, lease, [1])
        assert await commit_batches(other, job.job_no, ANN, [batch], id_type="bigint") == [FENCED]
        await signer.execute("SET lock_timeout = '5s'")
        assert await commit_batches(signer, job.job_no, ANN, [batch], id_type="bigint") == [COMMITTED]


async def test_a_failure_without_a_lease_in_a_transaction_left_open_holds_nobody_up(
    owner: asyncpg.Connection, signer: asyncpg.Connection, other: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    await owner.execute("SET lock_timeout = '5s'")
    async with other.transaction():
        for holder in (ANN, "bob"):
            assert (await fail_batch(other, job.job_no, holder, 1, lease, error="buried")).outcome == FENCED
        locked = "SELECT FROM vaultstream.{} WHERE job_no = $1 FOR UPDATE"
        for table in ("batches", "jobs", "keys"):
            await owner.execute(locked.format(table), job.job_no)


async def test_an_expired_lease_in_a_transaction_left_open_holds_nobody_up(
    owner: asyncpg.Connection, signer: asyncpg.Connection, other: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(other, job, ANN, 1)
    await owner.execute(
        "UPDATE vaultstream.keys SET lease_until = clock_timestamp() WHERE key_no = $1", lease.key_no
    )
    await owner.execute("SET lock_timeout = '5s'")
    async with other.transaction():
        batch = signed(1, lease, [1])
        assert await commit_batches(other, job.job_no, ANN, [batch], id_type="bigint") == [FENCED]
        assert (await fail_batch(other, job.job_no, ANN, 1, lease, error="buried")).outcome == FENCED
        await owner.execute("SELECT FROM vaultstream.batches WHERE job_no = $1 FOR UPDATE", job.job_no)


async def revoke(connection: asyncpg.Connection, job: Job) -> None:
    await end_keys(connection, job.job_no, [f"{job.token}-1", f"{job.token}-2"], state="revoked")


async def delete(connection: asyncpg.Connection, job: Job) -> None:
    await delete_job(connection, job.job_no, "Delete")


async def retain(connection: asyncpg.Connection, job: Job) -> None:
    await delete_job(connection, job.job_no, "Retain")


@asynccontextmanager
async def short_waits(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """Waits of the functions end after half a second, so that a test need not wait for ten."""
    functions = "FUNCTION vaultstream.{} SET lock_timeout = '{}'"
    names = ("end_keys", "delete_job", "retry_dead")
    for name in names:
        await owner.execute("ALTER " + functions.format(name, "500ms"))
    yield
    for name in names:
        await owner.execute("ALTER " + functions.format(name, "10s"))


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize(("part", "step"), [("keys", revoke), ("operator", delete), ("operator", retain)])
async def test_what_waits_for_a_transaction_left_open_gives_up_and_names_the_session_to_end(  # noqa: PLR0917 - fixtures
    database: GuardedDatabase,
    owner: asyncpg.Connection,
    signer: asyncpg.Connection,
    job: Job,
    part: str,
    step: Callable[[asyncpg.Connection, Job], Awaitable[None]],
    committed: bool,
) -> None:
    pid, login = signer.get_server_pid(), database.logins["signing"]
    await signer.execute("BEGIN; SET LOCAL transaction_timeout = 0")
    batch = signed(1, await claim_one(signer, job, ANN, 1), [1])
    if committed:
        assert await commit_batches(signer, job.job_no, ANN, [batch], id_type="bigint") == [COMMITTED]
    async with short_waits(owner), connect(database.urls[part]) as connection:
        with pytest.raises(LockedError, match=f"process {pid} of the user {login}") as caught:
            await step(connection, job)
        assert f"pg_terminate_backend({pid})" in (caught.value.hint or "")
        assert (
            await owner.fetchval(
                "SELECT count(*) FROM vaultstream.keys WHERE job_no = $1 AND state = 'active'", job.job_no
            )
            == 2
        )
        await signer.execute("ROLLBACK")
        await step(connection, job)
    assert not await owner.fetchval(
        "SELECT count(*) FROM vaultstream.keys WHERE job_no = $1 AND state = 'active'", job.job_no
    )


async def test_the_waits_of_the_functions_that_end_things_or_seal_them_have_a_bound(
    owner: asyncpg.Connection,
) -> None:
    rows = await owner.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'vaultstream'::regnamespace AND 'lock_timeout=10s' = ANY (proconfig)"
    )
    assert {row["proname"] for row in rows} == {
        "fail_batch",
        "add_attestation",
        "add_dead_letters",
        "adopt_job",
        "add_checkpoint",
        "append_entries",
        "delete_job",
        "end_keys",
        "lock_log",
        "refuse_job",
        "retry_dead",
    }


async def test_doctor_names_a_transaction_that_a_signer_leaves_open(
    database: GuardedDatabase,
    signer: asyncpg.Connection,
    owner: asyncpg.Connection,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transactions, "OPEN_SECONDS", 0.0)
    async with connect(database.admin_url) as admin, signer.transaction():
        assert [each.level for each in await transactions.examine_transactions(admin)] == [Level.OK]
        await claim_one(signer, job, ANN, 1)
        [finding] = await transactions.examine_transactions(admin)
        assert finding.level is Level.WARNING
        assert (
            f"process {signer.get_server_pid()} of the user {database.logins['signing']}" in finding.message
        )
        [hidden] = await transactions.examine_transactions(owner)
        assert "may not see" in hidden.message


async def test_who_waits_for_the_one_who_keeps_a_lock_is_not_named_as_the_one_to_end(
    database: GuardedDatabase, owner: asyncpg.Connection, signer: asyncpg.Connection, job: Job
) -> None:
    await signer.execute("BEGIN; SET LOCAL transaction_timeout = 0")
    key = (await claim_one(signer, job, ANN, 1)).key_no
    async with connect(database.urls["owner"]) as waiting, connect(database.urls["keys"]) as keys:
        change = asyncio.create_task(
            waiting.execute("UPDATE vaultstream.keys SET holder = holder WHERE key_no = $1", key)
        )
        try:

            async def waits() -> bool:
                count = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted"
                return bool(await owner.fetchval(count, waiting.get_server_pid()))

            await eventually(waits)
            async with short_waits(owner):
                with pytest.raises(LockedError) as caught:
                    await revoke(keys, job)
        finally:
            await signer.execute("ROLLBACK")
            await change
    assert f"process {signer.get_server_pid()} of" in caught.value.message
    assert str(waiting.get_server_pid()) not in f"{caught.value.message} {caught.value.hint}"


async def test_an_open_commit_of_a_batch_holds_up_no_commit_of_others(
    database: GuardedDatabase, owner: asyncpg.Connection, signer: asyncpg.Connection
) -> None:
    """A batch that one signer has may be claimed by another one too: a commit of a group must not wait for it."""
    job = await add_job(owner, keys=3)
    await add_batches(owner, job, [1], [2])
    async with connect(database.urls["owner"]) as honest:
        held = [await claim_one(honest, job, ANN, number) for number in (1, 2)]
        transaction = signer.transaction()
        await transaction.start()
        theirs = await claim_one(signer, job, "eve", 1)
        assert await commit(signer, job, signed(1, theirs, [1]), holder="eve") == [COMMITTED]
        await honest.execute("SET lock_timeout = '5s'")
        batches = [signed(number, lease, [number]) for number, lease in zip((1, 2), held, strict=True)]
        assert await commit(honest, job, *batches) == [FENCED, COMMITTED]
        await transaction.rollback()
        assert await commit(honest, job, batches[0]) == [COMMITTED]
    assert set(await signatures_of(owner, job)) == {1, 2}
