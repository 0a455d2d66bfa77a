"""Logs in Postgres: they grow, one sealer at a time, and nothing in them is changed or removed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_batches, add_job, claim_one, commit, new_name, signed, waits_for_a_lock
from support.log_of_seals import seal_entry
from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.entries import DeadLetterEntry
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.seal import SealEntry, job_origin
from vaultstream.store import logs
from vaultstream.store.entry_facts import find_plan
from vaultstream.store.jobs import Job, delete_job
from vaultstream.store.logs import EntryKind, Log, NewEntry, StoredEntry

pytestmark = pytest.mark.integration


@pytest.fixture
async def job(db: asyncpg.Connection) -> Job:
    """A job with a committed batch of two signed records and a dead one."""
    job = await add_job(db)
    [batch] = await add_batches(db, job, [1, 2, 3])
    lease = await claim_one(db, job, "ann", batch)
    assert await commit(db, job, signed(batch, lease, [1, 3], [2])) == ["committed"]
    return job


@pytest.fixture
def origin() -> str:
    return f"{new_name('log')}.example"


def event(text: str, subject: str = "") -> NewEntry:
    return NewEntry(
        kind=EntryKind.AUDIT_EVENT, leaf=leaf_hash(text.encode()), body=text, subject=subject or text
    )


def dead_letter(job: Job) -> NewEntry:
    entry = DeadLetterEntry(
        job_token=job.token,
        batch=1,
        record_id="2",
        reason="PayloadNull",
        message="é",
        died_at=datetime.now(UTC),
    )
    return NewEntry(
        kind=EntryKind.DEAD_LETTER, leaf=entry.leaf, body=entry.data.decode(), batch_no=1, subject="2"
    )


async def statement(db: asyncpg.Connection, job: Job) -> tuple[NewEntry, StatementEnvelope]:
    row = await db.fetchrow(
        "SELECT body, signature FROM vaultstream.statements WHERE job_no = $1", job.job_no
    )
    envelope = StatementEnvelope(row["body"], row["signature"])
    return NewEntry(kind=EntryKind.STATEMENT, leaf=leaf_hash(envelope.data), batch_no=1), envelope


def note(log: Log, rest: str = "") -> bytes:
    """A checkpoint of the log, which nobody signed."""
    return f"{Checkpoint(log.origin, log.size, log.tree.root()).text}{rest}".encode()


async def entries_of(db: asyncpg.Connection, log: Log, **part: int) -> list[StoredEntry]:
    return [entry async for entry in logs.read_entries(db, log, **part)]


async def test_a_log_is_opened_once_and_found_with_its_tree(
    db: asyncpg.Connection, job: Job, origin: str
) -> None:
    async with db.transaction():
        log = await logs.lock_log(db, origin, job_no=job.job_no)
        assert log.size == 0
        grown = await logs.append_entries(db, log, job.job_no, [event(f"{n}") for n in range(5)])
        grown = await logs.append_entries(db, grown, job.job_no, [event("5")])
    again = await logs.lock_log(db, origin, job_no=job.job_no)
    assert again == grown == await logs.find_log(db, origin) == await logs.find_job_log(db, job.job_no)
    assert again.log_no == log.log_no
    assert await logs.get_log(db, log.log_no) == grown
    leaves = await logs.leaf_hashes(db, again)
    assert leaves == [leaf_hash(f"{n}".encode()) for n in range(6)]
    assert again.tree.root() == tree_root(leaves)
    assert await logs.leaf_hashes(db, again, first=2, last=4) == leaves[2:4]
    assert await logs.find_log(db, origin + "x") is None
    assert await logs.find_job_log(db, 0) is None


async def test_entries_have_the_bytes_whose_hash_is_their_leaf(
    db: asyncpg.Connection, job: Job, origin: str
) -> None:
    entry, envelope = await statement(db, job)
    letter = dead_letter(job)
    log = await logs.lock_log(db, origin, job_no=job.job_no)
    log = await logs.append_entries(db, log, job.job_no, [entry, letter, event("happened")])
    first, second, third = await entries_of(db, log)
    assert (first.kind, first.batch_no, first.data) == (EntryKind.STATEMENT, 1, envelope.data)
    assert (second.kind, second.subject, second.data) == (
        EntryKind.DEAD_LETTER,
        "2",
        (letter.body or "").encode(),
    )
    assert [each.index for each in (first, second, third)] == [0, 1, 2]
    for each in (first, second, third):
        assert each.data is not None
        assert leaf_hash(each.data) == each.leaf
    assert await entries_of(db, log, first=1, last=2) == [second]


async def test_what_was_removed_has_no_bytes_and_a_missing_leaf_is_an_error(
    db: asyncpg.Connection, job: Job, origin: str
) -> None:
    entry, _ = await statement(db, job)
    log = await logs.lock_log(db, origin, job_no=job.job_no)
    log = await logs.append_entries(db, log, job.job_no, [entry, event("happened")])
    await db.execute("DELETE FROM vaultstream.statements WHERE job_no = $1", job.job_no)
    [first, _] = await entries_of(db, log)
    assert (first.data, first.leaf) == (None, entry.leaf)
    async with as_somebody_who_tampers(db):
        await db.execute("DELETE FROM vaultstream.log_entries WHERE log_no = $1 AND index = 0", log.log_no)
    with pytest.raises(ProofError, match="has 1 of its entries 0 to 1"):
        await logs.leaf_hashes(db, log)
    async with as_somebody_who_tampers(db):
        await db.execute("UPDATE vaultstream.logs SET frontier = '' WHERE log_no = $1", log.log_no)
    with pytest.raises(ProofError, match="is no tree"):
        await logs.find_log(db, origin)


class as_somebody_who_tampers:  # noqa: N801 - reads as what it does
    """The owner of the tables, with their triggers off."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self._db = db

    async def __aenter__(self) -> None:
        await self._db.execute("SET session_replication_role = replica")

    async def __aexit__(self, *_: object) -> None:
        await self._db.execute("RESET session_replication_role")


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE vaultstream.logs SET size = 0 WHERE log_no = {log}",
        "UPDATE vaultstream.logs SET origin = 'other', size = size + 1 WHERE log_no = {log}",
        "DELETE FROM vaultstream.logs WHERE log_no = {log}",
        "UPDATE vaultstream.log_entries SET body = '' WHERE log_no = {log}",
        "UPDATE vaultstream.log_entries SET body = NULL WHERE log_no = {log}",
        "UPDATE vaultstream.log_entries SET body = NULL WHERE log_no = {log} AND kind = 'dead-letter'",
        "UPDATE vaultstream.log_entries SET leaf = sha256('') WHERE log_no = {log}",
        "UPDATE vaultstream.log_entries SET index = index + 100 WHERE log_no = {log}",
        "DELETE FROM vaultstream.log_entries WHERE log_no = {log}",
        "UPDATE vaultstream.checkpoints SET note = '' WHERE log_no = {log}",
        "DELETE FROM vaultstream.checkpoints WHERE log_no = {log}",
        "TRUNCATE vaultstream.log_entries",
        "TRUNCATE vaultstream.checkpoints CASCADE",
        "TRUNCATE vaultstream.logs CASCADE",
    ],
)
async def test_nothing_in_a_log_is_changed_or_removed_by_anyone(
    db: asyncpg.Connection, job: Job, origin: str, tampering: str
) -> None:
    log = await logs.lock_log(db, origin, job_no=job.job_no)
    log = await logs.append_entries(db, log, job.job_no, [dead_letter(job), event("1")])
    await logs.add_checkpoint(db, log, note(log))
    with pytest.raises(asyncpg.CheckViolationError, match="only grows"):
        await db.execute(tampering.format(log=log.log_no))


async def test_no_entry_is_appended_twice_except_seals(db: asyncpg.Connection, job: Job, origin: str) -> None:
    entry, _ = await statement(db, job)
    log = await logs.lock_log(db, origin, job_no=job.job_no)
    log = await logs.append_entries(db, log, job.job_no, [entry, dead_letter(job), event("1")])
    for each in (entry, dead_letter(job), event("1")):
        with pytest.raises(asyncpg.UniqueViolationError):
            await logs.append_entries(db, log, job.job_no, [each])
    assert await logs.find_log(db, origin) == log
    own = await logs.lock_log(db, f"{origin}/installation")
    plan = NewEntry(kind=EntryKind.PLAN, leaf=bytes(32), body=f'plan"jobToken":"{job.token}"')
    seal = NewEntry(kind=EntryKind.SEAL, leaf=bytes(32), body=f'seal"jobToken":"{job.token}"')
    own = await logs.append_entries(db, own, job.job_no, [plan, seal, seal])
    with pytest.raises(asyncpg.UniqueViolationError):
        await logs.append_entries(db, own, job.job_no, [plan])
    assert await logs.append_entries(db, own, job.job_no, []) == own


async def test_a_log_takes_only_its_own_kinds_and_only_at_its_end(
    db: asyncpg.Connection, job: Job, origin: str
) -> None:
    other = await add_job(db)
    log = await logs.lock_log(db, origin, job_no=job.job_no)
    installation = await logs.lock_log(db, f"{origin}/installation")
    seal = NewEntry(kind=EntryKind.SEAL, leaf=bytes(32), body=f'"jobToken":"{job.token}"')
    grown = await logs.append_entries(db, log, job.job_no, [event("1")])
    for wrong, about, entry in (
        (log, job, event("2")),  # it has grown
        (grown, other, event("2")),
        (grown, job, seal),
        (installation, job, event("2")),
        (grown, job, NewEntry(kind=EntryKind.STATEMENT, leaf=bytes(32), body="text", batch_no=1)),
        (grown, job, NewEntry(kind=EntryKind.STATEMENT, leaf=bytes(32))),
        (grown, job, NewEntry(kind=EntryKind.AUDIT_EVENT, leaf=bytes(32))),
    ):
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await logs.append_entries(db, wrong, about.job_no, [entry])
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await logs.lock_log(db, origin, job_no=other.job_no)
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await logs.lock_log(db, origin)
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await logs.add_checkpoint(db, log, note(log))
    assert await logs.find_log(db, origin) == grown


async def test_the_newest_checkpoint_is_that_of_the_largest_tree(
    db: asyncpg.Connection, job: Job, origin: str
) -> None:
    log = await logs.lock_log(db, origin, job_no=job.job_no)
    assert await logs.newest_checkpoint(db, log) is None
    await logs.add_checkpoint(db, log, note(log))
    grown = await logs.append_entries(db, log, job.job_no, [event("1")])
    await logs.add_checkpoint(db, grown, note(grown, "first — é"))
    await logs.add_checkpoint(db, grown, note(grown, "cosigned"))
    newest = await logs.newest_checkpoint(db, grown)
    assert newest is not None
    assert (newest.size, newest.note) == (1, note(grown, "cosigned"))
    empty = await logs.newest_checkpoint(db, grown, size=0)
    assert empty is not None
    assert empty.note == note(log)


async def test_the_newest_seal_of_a_job_comes_with_its_checkpoints(
    db: asyncpg.Connection, job: Job, origin: str
) -> None:
    assert await logs.newest_seal(db, job.job_no) is None
    own = await logs.lock_log(db, job_origin(origin, job.token), job_no=job.job_no)
    own = await logs.append_entries(db, own, job.job_no, [event("1")])
    await logs.add_checkpoint(db, own, note(own))
    installation = await logs.lock_log(db, origin)
    for state in ("Running", "Complete"):
        seal = seal_entry(job, own, state=state)
        entry = NewEntry(kind=EntryKind.SEAL, leaf=seal.leaf, body=seal.data.decode())
        installation = await logs.append_entries(db, installation, job.job_no, [entry])
        await logs.add_checkpoint(db, installation, note(installation, state))
    newest = await logs.newest_seal(db, job.job_no)
    assert newest == logs.StoredSeal(
        installation.log_no, 1, seal.data.decode(), note(installation, "Complete"), note(own)
    )
    stored = await logs.newest_called_seal(db, job.job_no, log=installation)
    assert stored is not None
    assert SealEntry.parse(stored.data or b"") == seal
    assert await logs.newest_called_seal(db, job.job_no, log=own) is None
    assert await find_plan(db, installation, job.job_no, job.token) is None


async def test_a_second_sealer_waits_for_the_first(
    db: asyncpg.Connection, engine_url: str, job: Job, origin: str
) -> None:
    async def seal() -> Log:
        async with connect(engine_url) as other, other.transaction():
            log = await logs.lock_log(other, origin, job_no=job.job_no)
            return await logs.append_entries(other, log, job.job_no, [event(f"at {log.size}")])

    async with db.transaction():
        log = await logs.lock_log(db, origin, job_no=job.job_no)
        second = asyncio.create_task(seal())
        async with connect(engine_url) as watching:
            await waits_for_a_lock(watching)
        await logs.append_entries(db, log, job.job_no, [event("at first")])
    assert (await second).size == 2
    assert [entry.body for entry in await entries_of(db, await second)] == ["at first", "at 1"]


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_log_outlives_its_job_and_delete_erases_the_texts_that_name_records(
    db: asyncpg.Connection, job: Job, origin: str, policy: str
) -> None:
    entry, envelope = await statement(db, job)
    letter = dead_letter(job)
    log = await logs.lock_log(db, origin, job_no=job.job_no)
    log = await logs.append_entries(db, log, job.job_no, [entry, letter, event("happened")])
    await logs.add_checkpoint(db, log, note(log))

    await delete_job(db, job.job_no, policy)

    assert await logs.find_log(db, origin) == log
    assert await logs.newest_checkpoint(db, log) is not None
    stated, dead, happened = await entries_of(db, log)
    assert [each.leaf for each in (stated, dead, happened)] == [
        entry.leaf,
        letter.leaf,
        leaf_hash(b"happened"),
    ]
    assert happened.data == b"happened"
    if policy == "Retain":
        assert (stated.data, dead.data) == (envelope.data, (letter.body or "").encode())
    else:
        assert (stated.data, dead.data, dead.subject) == (None, None, "1")
