"""What someone who has the login of the signers tries: on batches, keys and leases of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.engine import (
    add_batches,
    add_job,
    claim_one,
    dead_of,
    history_of,
    signatures_of,
    signed,
    waits_for_a_lock,
)
from support.guarded import GuardedDatabase, another_login
from vaultstream.doctor import transactions
from vaultstream.doctor.findings import Level
from vaultstream.errors import LockedError
from vaultstream.store.batches import fail_batch
from vaultstream.store.database import connect
from vaultstream.store.jobs import Job, delete_job
from vaultstream.store.keys import end_keys
from vaultstream.store.leases import COMMITTED, FENCED, Lease, commit_batches, release_leases, renew_leases
from vaultstream.store.sql import arguments, query

pytestmark = pytest.mark.integration

ANN = "ann"


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    """A job with two keys and two pending batches of one record, whose batches may fail twice."""
    job = await add_job(owner, keys=2, retries={"maxAttempts": 2})
    await add_batches(owner, job, [1], [2])
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.fixture
async def signer(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database.urls["signing"]) as connection:
        yield connection


@pytest.fixture
async def other(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection of another login of the same role."""
    async with another_login(database, "signing") as url, connect(url) as connection:
        yield connection


async def attempts_of(owner: asyncpg.Connection, job: Job) -> list[int]:
    rows = await owner.fetch(
        "SELECT attempts FROM vaultstream.batches WHERE job_no = $1 ORDER BY batch_no", job.job_no
    )
    return [row["attempts"] for row in rows]


async def test_a_batch_can_not_be_failed_without_a_lease(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await signer.execute(
            "SELECT vaultstream.fail_batch(job_no, batch_no, 'buried', 1) "
            "FROM vaultstream.jobs, generate_series(1, 2) AS batch_no"
        )
    call = "SELECT outcome FROM vaultstream.fail_batch($1, $2, 1, $3, $4, 'buried')"
    lease = await claim_one(signer, job, ANN, 1)
    for holder, key_no, epoch in (
        (ANN, lease.key_no, lease.epoch + 1),
        (ANN, lease.key_no + 1, lease.epoch),
        ("bob", lease.key_no, lease.epoch),
        (None, lease.key_no, lease.epoch),
        (ANN, None, None),
    ):
        assert await signer.fetchval(call, job.job_no, holder, key_no, epoch) == FENCED
    assert await attempts_of(owner, job) == [0, 0]
    assert await dead_of(owner, job) == {}


async def test_one_lease_is_good_for_one_failed_attempt_and_the_history_names_its_login(
    database: GuardedDatabase, signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    outcomes = [await fail_batch(signer, job.job_no, ANN, 1, lease, error="buried") for _ in range(3)]
    assert [failure.outcome for failure in outcomes] == ["retry", FENCED, FENCED]
    assert await attempts_of(owner, job) == [1, 0]
    assert await history_of(owner, job) == {(lease.key_no, lease.epoch, "failed")}
    entry = await owner.fetchrow(
        "SELECT holder, login, batch_no FROM vaultstream.leases WHERE key_no = $1", lease.key_no
    )
    assert tuple(entry or ()) == (ANN, database.logins["signing"], 1)


async def test_the_attempts_of_a_batch_are_those_of_the_job_s_row(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    for expected in ("retry", "dead"):
        lease = await claim_one(signer, job, ANN, 1)
        assert (await fail_batch(signer, job.job_no, ANN, 1, lease, error="x" * 5000)).outcome == expected
    message = await owner.fetchval(
        "SELECT message FROM vaultstream.dead_letters WHERE job_no = $1", job.job_no
    )
    assert len(message) == 1000


@pytest.mark.parametrize("seconds", [3600.001, 1e9, float("inf"), float("nan"), 0.0, -1.0, None])
async def test_no_lease_lasts_longer_than_an_hour_or_for_no_time(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, seconds: float | None
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="3600"):
        await signer.execute("SELECT vaultstream.claim_batches($1, 'ann', '{1}', $2)", job.job_no, seconds)
    lease = await claim_one(signer, job, ANN, 1)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="3600"):
        await signer.execute(
            "SELECT vaultstream.renew_keys('ann', ARRAY[$1::int], ARRAY[$2::int], $3)",
            lease.key_no,
            lease.epoch,
            seconds,
        )
    longest = await owner.fetchval(
        "SELECT max(lease_until) < clock_timestamp() + interval '31 s' FROM vaultstream.keys WHERE job_no = $1",
        job.job_no,
    )
    assert longest


@pytest.mark.parametrize("holder", [None, "", "x" * 301])
async def test_a_holder_has_a_name(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, holder: str | None
) -> None:
    """Without one, a key would look free while its epoch counts on."""
    with pytest.raises(asyncpg.InvalidParameterValueError, match="holder"):
        await signer.execute("SELECT vaultstream.claim_batches($1, $2, '{1}', 30)", job.job_no, holder)
    assert await owner.fetchval("SELECT max(epoch) FROM vaultstream.keys WHERE job_no = $1", job.job_no) == 0


async def test_a_lease_of_another_login_can_not_be_renewed_released_failed_or_committed(
    signer: asyncpg.Connection, other: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    """A holder is a name that anyone may give himself; the login is not."""
    lease = await claim_one(signer, job, ANN, 1)
    until = "SELECT lease_until FROM vaultstream.keys WHERE key_no = $1"
    before = await owner.fetchval(until, lease.key_no)
    await other.execute(
        "SELECT vaultstream.renew_keys('ann', ARRAY[$1::int], ARRAY[$2::int], 3600)",
        lease.key_no,
        lease.epoch,
    )
    await release_leases(other, ANN, [lease])
    assert (await fail_batch(other, job.job_no, ANN, 1, lease, error="buried")).outcome == FENCED
    forged = signed(1, lease, [1])
    assert await commit_batches(other, job.job_no, ANN, [forged], id_type="bigint") == [FENCED]
    assert await owner.fetchval(until, lease.key_no) == before
    assert await history_of(owner, job) == set()
    assert await renew_leases(signer, ANN, [lease], seconds=30) == []
    assert (await fail_batch(signer, job.job_no, ANN, 1, lease, error="its own")).outcome == "retry"


Slots = dict[str, object]


async def send(
    connection: asyncpg.Connection,
    job: Job,
    *leases: tuple[int, Lease],
    id_type: str = "bigint",
    **changed: object,
) -> list[str]:
    """Commits batches with arguments of one's own; without any, the first leased batch with the ids 1 and 2."""
    values: Slots = {
        "batch_no": [number for number, _ in leases],
        "key_no": [lease.key_no for _, lease in leases],
        "epoch": [lease.epoch for _, lease in leases],
        "signed": [2],
        "dead": [0],
        "record_id": [1, 2],
        "width": 35,
        "rows": None,
        "dead_slot": [],
        "dead_id": [],
        "dead_reason": [],
        "dead_message": [],
        **changed,
    }
    if values["rows"] is None:
        values["rows"] = bytes([*range(32), 0, 1, 7]) * len(values["record_id"])  # type: ignore[arg-type]
    text = query("commit_batches", id_type=id_type)
    rows = await connection.fetch(text, *arguments(text, job_no=job.job_no, holder=ANN, **values))
    return [row["outcome"] for row in rows]


def dead(*records: tuple[object, object, object, object]) -> Slots:
    """Returns the arguments for dead records, each as slot, id, reason and message."""
    slots, ids, reasons, messages = zip(*records, strict=True)
    return {"dead_slot": slots, "dead_id": ids, "dead_reason": reasons, "dead_message": messages}


GONE = "RecordGone", "The row was deleted."
FORGED: dict[str, Slots] = {
    "another record": {"record_id": [1, 9]},
    "a record before the batch": {"record_id": [0, 1]},
    "a record twice": {"record_id": [2, 2]},
    "one record too few": {"signed": [1], "record_id": [1]},
    "one record too many": {"signed": [3], "record_id": [1, 2, 3]},
    "no record at all": {"signed": [0], "record_id": []},
    "dead records that are not named": {"signed": [0], "dead": [2], "record_id": []},
    "a negative number of records": {"signed": [-1], "dead": [3], "record_id": []},
    "a number of records that is NULL": {"signed": [None]},
    "a dead record that is not of the batch": {
        "signed": [1], "dead": [1], "record_id": [1], **dead((1, "9", *GONE))
    },
    "a record that is signed and dead": {"signed": [1], "dead": [1], "record_id": [1], **dead((1, "1", *GONE))},
    "an id in another spelling": {"signed": [1], "dead": [1], "record_id": [1], **dead((1, "02", *GONE))},
    "a dead record twice": {"signed": [0], "dead": [2], "record_id": [], **dead((1, "1", *GONE), (1, "1", *GONE))},
    "a dead record of no slot": {"signed": [1], "dead": [1], "record_id": [1], **dead((2, "2", *GONE))},
    "a dead record of a slot that is NULL": {"signed": [1], "dead": [1], "record_id": [1], **dead((None, "2", *GONE))},
    "fewer reasons than dead records": {
        "signed": [1], "dead": [1], "record_id": [1], "dead_slot": [1], "dead_id": ["2"]
    },
    "more dead records than said": dead((1, "2", *GONE)),
    "a reason of one's own": {"signed": [1], "dead": [1], "record_id": [1], **dead((1, "2", "Because", "I say so."))},
    "the reason that takes attempts": {"signed": [1], "dead": [1], "record_id": [1], **dead((1, "2", "Unsignable", "no"))},
    "a reason that is NULL": {"signed": [1], "dead": [1], "record_id": [1], **dead((1, "2", None, "no"))},
    "a message without end": {"signed": [1], "dead": [1], "record_id": [1], **dead((1, "2", GONE[0], "x" * 1001))},
    "fewer keys than batches": {"key_no": []},
    "more batches than keys": {"batch_no": [1, 2]},
    "no width": {"width": 0, "rows": b""},
    "a negative width": {"width": -35, "rows": b""},
    "a width that is NULL": {"width": None, "rows": b""},
    "fewer bytes than records": {"rows": bytes(69)},
    "more bytes than records": {"rows": bytes(71)},
    "more ids than said": {"record_id": [1, 2, 3]},
    "numbers in two dimensions": {"signed": [[1, 1]]},
    "ids in two dimensions": {"record_id": [[1], [2]]},
}  # fmt: skip


@pytest.mark.parametrize("forged", FORGED)
async def test_a_commit_settles_exactly_the_records_of_its_batch(
    signer: asyncpg.Connection, owner: asyncpg.Connection, forged: str
) -> None:
    job = await add_job(owner, keys=2)
    await add_batches(owner, job, [1, 2], [3, 4])
    lease = await claim_one(signer, job, ANN, 1)
    with pytest.raises((asyncpg.InvalidParameterValueError, asyncpg.CheckViolationError)):
        await send(signer, job, (1, lease), **FORGED[forged])
    assert await signatures_of(owner, job) == {}
    assert await dead_of(owner, job) == {}
    assert await send(signer, job, (1, lease)) == [COMMITTED]
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.mark.parametrize(
    ("signed_ids", "dead_ids", "outcome"),
    [
        (["b", "a"], [], None),
        (["b"], ["a"], None),
        ([], ["a", "b"], None),
        (["a", "c"], [], "not those"),
        (["a"], ["c"], "not those"),
        (["a", "a"], [], "not those"),
        (["a"], ["a"], "not those"),
        (["a", None], [], "not those"),
    ],
)
async def test_a_commit_settles_exactly_the_records_that_its_batch_lists(
    signer: asyncpg.Connection,
    owner: asyncpg.Connection,
    signed_ids: list[str],
    dead_ids: list[str],
    outcome: str | None,
) -> None:
    job = await add_job(owner, keys=1, id_type="text")
    await add_batches(owner, job, ["a", "b"])
    lease = await claim_one(signer, job, ANN, 1)
    values = {"signed": [len(signed_ids)], "dead": [len(dead_ids)], "record_id": signed_ids}
    if dead_ids:
        values |= dead(*((1, each, *GONE) for each in dead_ids))
    if outcome is None:
        assert await send(signer, job, (1, lease), id_type="text", **values) == [COMMITTED]
        assert set(await signatures_of(owner, job)) == set(signed_ids)
        assert set(await dead_of(owner, job)) == set(dead_ids)
    else:
        with pytest.raises(asyncpg.InvalidParameterValueError, match=outcome):
            await send(signer, job, (1, lease), id_type="text", **values)
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


async def test_a_lease_is_good_for_its_own_batch_alone(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    assert (await fail_batch(signer, job.job_no, ANN, 2, lease, error="buried")).outcome == FENCED
    one = {"signed": [1], "dead": [0], "record_id": [2]}
    assert await send(signer, job, (2, lease), **one) == [FENCED]
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await send(signer, job, (1, lease), (2, lease), signed=[1, 0], dead=[0, 1], record_id=[2])
    assert await send(signer, job, (1, lease), (2, lease), signed=[1, 1], dead=[0, 0]) == [COMMITTED, FENCED]
    assert set(await signatures_of(owner, job)) == {1}
    assert await attempts_of(owner, job) == [0, 0]


async def test_a_batch_of_another_job_can_not_be_committed_with_a_key_of_this_one(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    theirs = await add_job(owner, keys=1)
    await add_batches(owner, theirs, [1, 2])
    lease = await claim_one(signer, job, ANN, 1)
    assert await send(signer, theirs, (1, lease)) == [FENCED]
    assert await signatures_of(owner, theirs) == {}
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", theirs.job_no)


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


async def test_a_lease_that_begins_during_a_commit_settles_nothing_in_it(
    database: GuardedDatabase, owner: asyncpg.Connection, signer: asyncpg.Connection, job: Job
) -> None:
    """The second slot names a lease that is taken while the first one waits: its records were never compared."""
    lease = await claim_one(signer, job, ANN, 1)
    key_no = await owner.fetchval(
        "SELECT key_no FROM vaultstream.keys WHERE job_no = $1 AND holder IS NULL", job.job_no
    )
    foreseen = Lease(key_no, "", 1, 0)
    async with connect(database.urls["signing"]) as accomplice:
        held = owner.transaction()
        await held.start()
        await owner.execute("SELECT FROM vaultstream.batches WHERE batch_no = 1 FOR UPDATE")
        committing = asyncio.create_task(
            send(signer, job, (1, lease), (2, foreseen), signed=[1, 1], dead=[0, 0], record_id=[1, 99])
        )
        await waits_for_a_lock(accomplice)
        assert (await claim_one(accomplice, job, ANN, 2)).key_no == key_no
        await held.rollback()
        assert await committing == [COMMITTED, FENCED]
    assert set(await signatures_of(owner, job)) == {1}


async def test_a_batch_that_another_login_signs_alone_under_a_holders_name_leaves_the_holder_its_batches(
    owner: asyncpg.Connection, signer: asyncpg.Connection, other: asyncpg.Connection, job: Job
) -> None:
    await owner.execute(
        "UPDATE vaultstream.batches SET lost = 2 WHERE job_no = $1 AND batch_no = 1", job.job_no
    )
    await claim_one(other, job, ANN, 1)
    await claim_one(signer, job, ANN, 2)


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


async def test_the_waits_of_the_functions_that_end_things_have_a_bound(owner: asyncpg.Connection) -> None:
    rows = await owner.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'vaultstream'::regnamespace AND 'lock_timeout=10s' = ANY (proconfig)"
    )
    assert {row["proname"] for row in rows} == {"end_keys", "delete_job", "retry_dead"}


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
