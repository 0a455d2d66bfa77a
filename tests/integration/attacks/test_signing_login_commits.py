"""What someone who has the login of the signers tries: commits of records that are not those of a leased batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from support.as_user import connect
from support.engine import (
    add_batches,
    add_job,
    claim_one,
    dead_of,
    make_lease,
    signatures_of,
    statement_for,
    waits_for_a_lock,
)
from support.guarded import GuardedDatabase
from support.signing_login import ANN, attempts_of
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.store.batches import fail_batch
from vaultstream.store.jobs import Job
from vaultstream.store.leases import COMMITTED, FENCED, Lease
from vaultstream.store.schema import migrate
from vaultstream.store.sql import arguments, migrations, query

pytestmark = pytest.mark.integration


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
        "first_id": [None for _ in leases],
        "record_id": [1, 2],
        "width": 35,
        "rows": None,
        "dead_slot": [],
        "dead_id": [],
        "dead_reason": [],
        "dead_message": [],
        **changed,
    }
    if "statement" not in values:
        stated = [_stated(slot, values, leases) for slot in range(len(leases))]
        values["statement"] = [each and each.body for each in stated]
        values["statement_signature"] = [each and each.signature for each in stated]
    if values["rows"] is None:
        values["rows"] = bytes([*range(32), 0, 1, 7]) * len(values["record_id"])  # type: ignore[arg-type]
    text = query("commit_batches", id_type=id_type)
    of_any_relation = None, None, None
    rows = await connection.fetch(
        text, *arguments(text, job_no=job.job_no, holder=ANN, **values), *of_any_relation
    )
    return [row["outcome"] for row in rows]


def _stated(slot: int, values: Slots, leases: Sequence[tuple[int, Lease]]) -> StatementEnvelope | None:
    """Returns the statement that would be true of a slot, if one can be."""
    counts, ids = cast("list[Any]", values["signed"]), cast("list[Any]", values["record_id"])
    [first] = cast("list[Any]", values["first_id"])[slot : slot + 1] or [None]
    if first is None:
        if not all(type(count) is int for count in counts) or not 0 < counts[slot] <= len(ids):
            return None
        start = sum(counts[:slot])
        ids = ids[start : start + counts[slot]]
    else:
        ids = list(range(first, first + counts[slot]))
    blank = [b""] * len(ids)
    return statement_for(*leases[slot], ids, blank, blank, count=counts[slot])


def dead(*records: tuple[object, object, object, object]) -> Slots:
    """Returns the arguments for dead records, each as slot, id, reason and message."""
    slots, ids, reasons, messages = zip(*records, strict=True)
    return {"dead_slot": slots, "dead_id": ids, "dead_reason": reasons, "dead_message": messages}


GONE = "RecordGone", "The row was deleted."
TWO_ROWS = bytes([*range(32), 0, 1, 7]) * 2


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
    "a count from another record on": {"first_id": [2], "record_id": [], "rows": TWO_ROWS},
    "a count that ends too early": {"first_id": [1], "signed": [1], "record_id": [], "rows": TWO_ROWS[:35]},
    "a count beyond the batch": {"first_id": [1], "signed": [3], "record_id": [], "rows": TWO_ROWS[:35] * 3},
    "a count to a dead record": {
        "first_id": [1], "dead": [1], "record_id": [], "rows": TWO_ROWS, **dead((1, "2", *GONE))
    },
    "a count and the ids": {"first_id": [1]},
    "a count for another batch": {"first_id": [1, None]},
    "no first ids": {"first_id": []},
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
        (["a", None], [], "not about"),
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


async def test_consecutive_ids_are_counted_from_their_first(
    signer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """Also beside listed ids, beside a dead record, and where the batch lists them."""
    job = await add_job(owner, keys=4)
    await add_batches(owner, job, [1, 2], [5, 7], [11, 12, 13], [21, 22])
    await owner.execute(
        "UPDATE vaultstream.batches SET ids = '{21,22}' WHERE job_no = $1 AND batch_no = 4", job.job_no
    )
    leases = [(number, await claim_one(signer, job, ANN, number)) for number in (1, 2, 3, 4)]
    counted: Slots = {
        "signed": [2, 2, 2, 2],
        "dead": [0, 0, 1, 0],
        "first_id": [1, None, 11, 21],
        "record_id": [5, 7],
    }
    stated = [
        statement_for(*lease, ids, [b""] * 2, [b""] * 2)
        for lease, ids in zip(leases, ([1, 2], [5, 7], [11, 12], [21, 22]), strict=True)
    ]
    rows = b"".join(bytes([number]) * 32 + bytes([0, 1, number]) for number in range(8))
    values: Slots = {
        **counted,
        **dead((3, "13", *GONE)),
        "rows": rows,
        "statement": [each.body for each in stated],
        "statement_signature": [each.signature for each in stated],
    }
    assert await send(signer, job, *leases, **values) == [COMMITTED] * 4
    found = await owner.fetch(f"SELECT record_id, digest, signature FROM {job.signatures_table}")
    assert {row["record_id"]: (row["digest"], row["signature"]) for row in found} == {
        record_id: (bytes([number]) * 32, bytes([number]))
        for number, record_id in enumerate([1, 2, 5, 7, 11, 12, 21, 22])
    }
    assert set(await dead_of(owner, job)) == {"13"}


@pytest.mark.parametrize("id_type", ["text", "uuid"])
async def test_only_integers_are_counted(
    signer: asyncpg.Connection, owner: asyncpg.Connection, id_type: str
) -> None:
    job = await add_job(owner, keys=1, id_type=id_type)
    ids = {"text": ["1", "2"], "uuid": [str(UUID(int=1)), str(UUID(int=2))]}[id_type]
    await add_batches(owner, job, ids)
    lease = await claim_one(signer, job, ANN, 1)
    for given in (id_type, "bigint"):
        values: Slots = {"first_id": [1], "record_id": [], "rows": TWO_ROWS}
        with pytest.raises((asyncpg.InvalidParameterValueError, asyncpg.DatatypeMismatchError)):
            await send(signer, job, (1, lease), id_type=given, **values)
    assert await signatures_of(owner, job) == {}


async def test_ids_of_another_type_are_not_committed(
    signer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2])
    lease = await claim_one(signer, job, ANN, 1)
    with pytest.raises(asyncpg.DatatypeMismatchError):
        await send(signer, job, (1, lease), id_type="text", record_id=["1", "2"])
    assert await send(signer, job, (1, lease)) == [COMMITTED]


async def test_the_function_of_a_job_is_called_by_commits_alone(
    signer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """It checks nothing: neither a lease nor a batch."""
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2])
    assert await send(signer, job, (1, await claim_one(signer, job, ANN, 1))) == [COMMITTED]
    name = f"insert_signatures_{job.job_no}"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await signer.execute(
            f"SELECT vaultstream.{name}('{{99}}', '{{}}', 35, $1, '{{1}}', '{{1}}', ARRAY[now()], '{{1}}', '{{0}}', '{{0}}', "
            "'{true}', false)",
            TWO_ROWS[:35],
        )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await signer.execute("SELECT vaultstream.define_insert($1, 'bigint[]')", job.job_no)
    assert set(await signatures_of(owner, job)) == {1, 2}
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
    assert not await owner.fetchval("SELECT count(*) FROM pg_proc WHERE proname = $1", name)


@pytest.mark.parametrize("first_id", [None, 1])
async def test_a_signature_is_no_longer_than_its_row(
    signer: asyncpg.Connection, owner: asyncpg.Connection, first_id: int | None
) -> None:
    """Else each one could go on through the rows of all others."""
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2])
    lease = await claim_one(signer, job, ANN, 1)
    rows = bytes([*range(32), 0xFF, 0xFF, 7]) * 2
    ids = [1, 2] if first_id is None else []
    sent = await send(signer, job, (1, lease), rows=rows, first_id=[first_id], record_id=ids)
    assert sent == [COMMITTED]
    lengths = f"SELECT DISTINCT octet_length(signature) FROM vaultstream.signatures_{job.job_no}"
    assert [row[0] for row in await owner.fetch(lengths)] == [1]


OTHER_TYPES = {"bigint": "uuid", "uuid": "text", "text": "bigint"}


@pytest.mark.parametrize("id_type", OTHER_TYPES)
async def test_a_rehearsal_defines_nothing(
    signer: asyncpg.Connection, owner: asyncpg.Connection, id_type: str
) -> None:
    """A function for ids of another type would keep all batches of a job from being committed."""
    coming = 1 + await owner.fetchval("SELECT last_value FROM vaultstream.jobs_job_no_seq")
    for ids in OTHER_TYPES:
        with pytest.raises(asyncpg.UndefinedFunctionError, match="does not exist"):
            await signer.execute(rehearsal(ids), coming, "{}")
    job = await add_job(owner, keys=1, id_type=id_type)
    assert job.job_no >= coming
    defined = "SELECT oid, xmin::text FROM pg_proc WHERE proname = 'insert_signatures_' || $1::int"
    [function] = await owner.fetch(defined, job.job_no)
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await signer.execute(rehearsal(OTHER_TYPES[id_type]), job.job_no, "{}")
    await signer.execute(rehearsal(id_type), job.job_no, "{}")
    assert await owner.fetch(defined, job.job_no) == [function]
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
    assert await owner.fetch(defined, job.job_no) == []


def rehearsal(ids: str) -> str:
    """The call by which a signer plans a commit, for ids of a type; the arguments are the job and no ids."""
    return (
        f"SELECT vaultstream.commit_batches($1, 'h', '{{0}}', '{{1}}', '{{1}}', '{{0}}', '{{0}}', '{{NULL}}', $2::text::{ids}[], "
        "34, '', '{}', '{}', '{}', '{}', '{NULL}', '{NULL}')"
    )


async def test_a_rehearsal_in_an_open_transaction_holds_up_no_signer(
    signer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """It needs no lease, so it must hold nothing that the first commits of a job wait for."""
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2])
    transaction = signer.transaction()
    await transaction.start()
    await signer.execute(rehearsal("bigint"), job.job_no, "{}")
    await owner.execute("SET lock_timeout = '5s'")
    await owner.execute(rehearsal("bigint"), job.job_no, "{}")
    lease = await claim_one(owner, job, ANN, 1)
    assert await send(owner, job, (1, lease)) == [COMMITTED]
    await transaction.rollback()


async def test_jobs_from_before_get_their_functions_by_a_migration(
    signer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2])
    lease = await claim_one(signer, job, ANN, 1)
    [name] = await owner.fetchrow(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE proname = 'insert_signatures_' || $1::int",
        job.job_no,
    )
    await owner.execute(f"DROP FUNCTION {name}")
    await migrate(owner)
    assert await send(signer, job, (1, lease)) == [COMMITTED]


async def test_functions_that_were_defined_before_their_job_go_with_the_migration(
    signer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    job = await add_job(owner, keys=1)
    await add_batches(owner, job, [1, 2])
    assert await send(signer, job, (1, await claim_one(signer, job, ANN, 1))) == [COMMITTED]
    name = f"vaultstream.insert_signatures_{job.job_no}"
    body = "RETURNS int LANGUAGE sql AS 'SELECT 1'"
    await owner.execute(f"CREATE FUNCTION {name}(bigint[], text[]) {body}")
    await owner.execute(f"CREATE FUNCTION vaultstream.insert_signatures_2000000000(bigint[]) {body}")
    defined = "SELECT proname FROM pg_proc WHERE proname = ANY ($1::text[])"
    names = [f"insert_signatures_{number}" for number in (job.job_no, 2_000_000_000)]
    assert len(await owner.fetch(defined, names)) == 3
    removal = next(each for each in migrations() if "LEFT JOIN vaultstream.jobs j ON p.proname" in each)
    # Nor does a view over one hold up a migration.
    call = "vaultstream.insert_signatures_2000000000(NULL::bigint[])"
    await signer.execute(f"CREATE TEMPORARY VIEW over_it AS SELECT {call} AS n")
    await owner.execute(removal)
    assert [row["proname"] for row in await owner.fetch(defined, names)] == names[:1]
    await owner.execute(f"CREATE FUNCTION {name}(bigint[], text[]) {body}")
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
    assert await owner.fetch(defined, names) == []


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


async def test_a_lease_that_begins_during_a_commit_settles_nothing_in_it(
    database: GuardedDatabase, owner: asyncpg.Connection, signer: asyncpg.Connection, job: Job
) -> None:
    """The second slot names a lease that is taken while the first one waits: its records were never compared."""
    lease = await claim_one(signer, job, ANN, 1)
    key_no = await owner.fetchval(
        "SELECT key_no FROM vaultstream.keys WHERE job_no = $1 AND holder IS NULL", job.job_no
    )
    foreseen = make_lease(key_no=key_no)
    async with connect(database.urls["signing"]) as accomplice:
        held = owner.transaction()
        await held.start()
        await owner.execute("SELECT FROM vaultstream.keys WHERE key_no = $1 FOR UPDATE", lease.key_no)
        committing = asyncio.create_task(
            send(signer, job, (1, lease), (2, foreseen), signed=[1, 1], dead=[0, 0], record_id=[1, 99])
        )
        await waits_for_a_lock(accomplice)
        assert (await claim_one(accomplice, job, ANN, 2)).key_no == key_no
        await held.rollback()
        assert await committing == [COMMITTED, FENCED]
    assert set(await signatures_of(owner, job)) == {1}
