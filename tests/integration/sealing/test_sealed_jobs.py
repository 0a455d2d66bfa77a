"""What seals say about a job at each stage of its life, and that nothing is sealed twice or left out."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job, add_table
from support.sealing import Sealing, copies, read_sealed
from vaultstream.crypto.seal_keys import SealKeys
from vaultstream.errors import ProofError, UsageError
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, RevocationEntry
from vaultstream.proof.planned import PlannedBatch
from vaultstream.proof.seal import SealedKey, job_origin, keys_digest, ranges_digest
from vaultstream.sealing.sealer import Sealer
from vaultstream.sealing.since import seal_since
from vaultstream.store import jobs
from vaultstream.store.logs import EntryKind
from vaultstream.store.source_pool import SourcePool

pytestmark = pytest.mark.integration

TEN = PlannedBatch(number=1, first_id="1", last_id="10", records=10)
REST = (
    PlannedBatch(number=2, first_id="11", last_id="20", records=10),
    PlannedBatch(number=3, first_id="21", last_id="25", records=5),
)


async def test_a_job_is_sealed_with_its_plan_its_statements_and_its_end(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealing.plan()
    await sealing.sign(1, dead=[7])
    first = await sealing.sealer.seal(db)
    assert first is not None
    assert (first.seal.state, first.seal.signed, first.seal.dead, first.seal.tree_size) == (
        "Running",
        9,
        1,
        3,
    )
    await sealing.sign()
    sealed = await sealing.complete()

    [plan], [_, last] = sealed.plans, sealed.seals
    assert (plan.job, plan.source, plan.upper_id) == (sealing.job.name, sealing.job.spec.records.table, "25")
    assert (plan.batches, plan.records) == (3, 25)
    assert plan.ranges_sha256 == ranges_digest([TEN, *REST]) == last.ranges_sha256
    assert (last.state, last.signed, last.dead, last.batches, last.upper_id) == ("Complete", 24, 1, 3, "25")
    rows = await db.fetch(
        "SELECT key_id, algorithm, public_key FROM vaultstream.keys WHERE job_no = $1", sealing.job.job_no
    )
    assert last.keys_sha256 == keys_digest(SealedKey(**dict(row)) for row in rows)
    assert (sealed.count(EntryKind.STATEMENT), sealed.count(EntryKind.DEAD_LETTER)) == (3, 1)
    [event] = [entry for entry in sealed.entries if entry.kind is EntryKind.AUDIT_EVENT]
    assert AuditEntry.parse(event.data or b"").action == "create"
    [letter] = [entry for entry in sealed.entries if entry.kind is EntryKind.DEAD_LETTER]
    assert DeadLetterEntry.parse(letter.data or b"").record_id == "7"
    assert (await sealing.current()).state == "Complete"


async def test_copies_of_plan_seal_and_checkpoints_lie_in_the_folder(
    sealing: Sealing, db: asyncpg.Connection, seal_keys: SealKeys
) -> None:
    await sealing.plan()
    await sealing.sign()
    sealed = await sealing.complete()
    own = f"jobs/{sealing.job.token}"
    files = copies(sealing.folder)
    assert set(files) == {"checkpoint", f"{own}/plan.json", f"{own}/seal.json", f"{own}/checkpoint"}
    assert files[f"{own}/plan.json"] == sealed.plans[0].data
    assert files[f"{own}/seal.json"] == sealed.seals[-1].data
    origin = job_origin(seal_keys.origin, sealing.job.token)
    assert open_checkpoint(
        files[f"{own}/checkpoint"], seal_keys.known, origin=origin
    ).checkpoint == sealed.seals[-1].checkpoint(seal_keys.origin)
    newest = open_checkpoint(files["checkpoint"], seal_keys.known, origin=seal_keys.origin).checkpoint
    assert newest.size == 2  # the plan and one seal


async def test_nothing_is_sealed_when_nothing_has_happened_and_lost_copies_are_written_again(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealing.plan()
    await sealing.sign(2)
    assert await sealing.sealer.seal(db) is not None
    before = copies(sealing.folder)
    for path in sealing.folder.rglob("*"):
        if path.name in {"checkpoint", "seal.json"}:
            path.unlink()
    assert await sealing.sealer.seal(db) is None
    assert copies(sealing.folder) == before
    assert len((await sealing.read()).seals) == 1


async def test_a_job_without_records_is_sealed(
    db: asyncpg.Connection, sources: SourcePool, seal_keys: SealKeys, tmp_path: Path
) -> None:
    empty = Sealing(db, sources, seal_keys, tmp_path, await add_job(db, await add_table(db)))
    await empty.start()
    await empty.sealer.state_plan(db)
    sealed = await empty.complete()
    assert [(seal.state, seal.signed, seal.upper_id, seal.tree_size) for seal in sealed.seals] == [
        ("Complete", 0, "", 1)  # that it was created is an event
    ]


async def test_a_job_is_not_complete_before_its_plan_is_stated_nor_while_a_batch_is_pending(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealing.start()
    while not await sealing.plan_page():
        pass
    await sealing.sign(1, 2)
    assert not await sealing.sealer.complete(db)
    await sealing.sealer.state_plan(db)
    assert not await sealing.sealer.complete(db)
    await sealing.sign(3)
    assert not (await sealing.read()).seals
    assert len((await sealing.complete()).complete) == 1
    assert not await sealing.sealer.complete(db)


async def test_parts_of_a_split_batch_and_their_dead_letters_are_sealed(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealing.plan()
    for number in (3, 4, 5, 6, 7):  # 5 records: 2 and 3, then one of 2 is divided
        if number in {3, 4, 6}:
            await sealing.fail(number)
    await sealing.sign()
    sealed = await sealing.complete()
    assert sealed.seals[-1].dead == 1
    assert (sealed.seals[-1].batches, sealed.seals[-1].signed) == (3, 24)
    assert sealed.plans[0].ranges_sha256 == sealed.seals[-1].ranges_sha256 == ranges_digest([TEN, *REST])


async def test_a_retry_is_sealed_again_and_the_dead_letter_stays_in_the_log(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealing.plan()
    await sealing.sign(dead=[7, 8])
    await sealing.complete()
    assert await jobs.retry_dead(db, sealing.job) == 2
    await sealing.restart()  # a worker of its own
    await sealing.sign(dead=[8])
    sealed = await sealing.complete()
    assert [(seal.state, seal.signed, seal.dead) for seal in sealed.seals] == [
        ("Complete", 23, 2),
        ("Complete", 24, 1),
    ]
    assert sealed.count(EntryKind.DEAD_LETTER) == 3  # record 8 died twice
    assert len(sealed.plans) == 1


async def test_a_dead_letter_that_was_cleared_before_a_seal_is_in_the_log(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealing.plan()
    await sealing.sign(1, dead=[7])
    assert await jobs.retry_dead(db, sealing.job) == 1
    await sealing.sign()
    sealed = await sealing.complete()
    assert (sealed.seals[-1].signed, sealed.seals[-1].dead) == (25, 0)
    assert sealed.count(EntryKind.DEAD_LETTER) == 1


async def test_a_revocation_after_the_end_is_sealed_by_a_later_seal(
    sealing: Sealing, db: asyncpg.Connection, seal_keys: SealKeys
) -> None:
    await sealing.plan()
    await sealing.sign()
    await sealing.complete()
    key = f"{sealing.job.token}-1"
    await db.execute("SELECT vaultstream.end_keys($1, $2, 'revoked')", sealing.job.job_no, [key])
    later = await seal_since(db, seal_keys, sealing.folder, sealing.job.token, deletion=False)
    assert later is not None
    assert later.seal.state == "Complete"
    assert await seal_since(db, seal_keys, sealing.folder, sealing.job.token, deletion=False) is None
    sealed = await sealing.read()
    [revocation] = [entry for entry in sealed.entries if entry.kind is EntryKind.REVOCATION]
    entry = RevocationEntry.parse(revocation.data or b"")
    public = await db.fetchval("SELECT public_key FROM vaultstream.keys WHERE key_id = $1", key)
    assert (entry.key_id, entry.public_key_sha256) == (key, sha256(public).digest())


@pytest.mark.parametrize("change", ["suspended", "failed"])
async def test_a_job_that_ends_otherwise_is_sealed_in_that_state(
    sealing: Sealing, db: asyncpg.Connection, change: str
) -> None:
    await sealing.plan()
    await sealing.sign(1)
    match change:
        case "suspended":
            await jobs.set_suspended(db, sealing.job.job_no, suspended=True)
        case _:
            await jobs.fail_job(db, sealing.job.job_no, "DeadlineExceeded")
    last = await sealing.sealer.seal(db)
    assert last is not None
    assert (last.seal.state, last.seal.signed) == (change.capitalize(), 10)
    assert not await sealing.sealer.complete(db)


async def test_a_deletion_is_sealed_by_who_deletes_the_job_and_not_by_its_worker(
    sealing: Sealing, db: asyncpg.Connection, seal_keys: SealKeys
) -> None:
    await sealing.plan()
    await sealing.sign(1)
    assert await sealing.sealer.seal(db) is not None
    await jobs.delete_job(db, sealing.job.job_no, "Retain")
    assert await sealing.sealer.seal(db) is None
    assert await (await sealing.restart()).seal(db) is None
    with pytest.raises(UsageError, match="no seal does"):  # an owner of the database can write such a mark
        await seal_since(db, seal_keys, sealing.folder, sealing.job.token, deletion=False)
    last = await seal_since(db, seal_keys, sealing.folder, sealing.job.token, deletion=True)
    assert last is not None
    assert (last.seal.state, last.seal.signed) == ("Deleted", 10)
    assert await seal_since(db, seal_keys, sealing.folder, sealing.job.token, deletion=False) is None
    assert not await sealing.sealer.complete(db)


async def test_a_job_from_before_statements_counts_the_batches_that_have_none(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealing.plan()
    await sealing.sign()
    await db.execute("SET session_replication_role = replica")  # a trigger refuses it otherwise
    await db.execute("UPDATE vaultstream.jobs SET stated = false WHERE job_no = $1", sealing.job.job_no)
    await db.execute("RESET session_replication_role")
    await db.execute(
        "DELETE FROM vaultstream.statements WHERE job_no = $1 AND batch_no <> 2", sealing.job.job_no
    )
    sealed = await sealing.complete()
    assert (sealed.seals[-1].signed, sealed.count(EntryKind.STATEMENT)) == (25, 1)


async def test_two_sealers_at_the_same_time_seal_everything_once(
    sealing: Sealing, db: asyncpg.Connection, engine_url: str, seal_keys: SealKeys
) -> None:
    await sealing.plan()

    async def keep_sealing(folder: Path) -> int:
        made = 0
        async with connect(engine_url) as own:
            sealer = Sealer(seal_keys, folder, sealing.job)
            await sealer.plan.resume(own, await jobs.get_job(own, sealing.job.token))
            if sealer.plan.entry is None:
                await sealer.state_plan(own)
            while not ended.is_set():
                made += await sealer.seal(own) is not None
            made += await sealer.complete(own)
        return made

    ended = asyncio.Event()
    tasks = [
        asyncio.create_task(keep_sealing(folder))
        for folder in (sealing.folder, sealing.folder, sealing.folder.with_name("other"))
    ]
    for number in (1, 2, 3):
        await sealing.sign(number)
        await asyncio.sleep(0.02)
    ended.set()
    made = sum(await asyncio.gather(*tasks))
    sealed = await sealing.read()
    assert len(sealed.seals) == made
    assert len(sealed.complete) == 1
    assert len(sealed.plans) == 1
    assert sealed.count(EntryKind.STATEMENT) == 3


async def test_jobs_share_the_log_of_an_installation(
    sealing: Sealing, db: asyncpg.Connection, sources: SourcePool, seal_keys: SealKeys
) -> None:
    other = Sealing(db, sources, seal_keys, sealing.folder, await add_job(db, await add_table(db, [1, 2])))
    for one in (sealing, other):
        await one.plan()
        await one.sign()
    for one in (other, sealing):
        await one.complete()
    assert len((await read_sealed(db, seal_keys, other.job)).complete) == 1
    assert len((await sealing.read()).complete) == 1


async def test_a_tenant_has_a_log_of_its_own(
    db: asyncpg.Connection, sources: SourcePool, seal_keys: SealKeys, tmp_path: Path
) -> None:
    table = await add_table(db, [1, 2])
    theirs = Sealing(db, sources, seal_keys, tmp_path, await add_job(db, table, tenant="shop"))
    await theirs.plan()
    await theirs.sign()
    assert len((await theirs.complete()).complete) == 1
    assert (
        (tmp_path / "tenants" / "shop" / "checkpoint")
        .read_text()
        .startswith(f"{seal_keys.origin}/tenants/shop\n")
    )
    mine = Sealing(db, sources, seal_keys, tmp_path, await add_job(db, table))
    await mine.plan()
    assert (tmp_path / "checkpoint").read_text().startswith(f"{seal_keys.origin}\n1\n")


@pytest.mark.parametrize("id_type", ["text", "uuid", "bigint"])
async def test_what_the_planner_cut_and_what_postgres_has_get_one_digest(
    db: asyncpg.Connection, sources: SourcePool, seal_keys: SealKeys, tmp_path: Path, id_type: str
) -> None:
    ids: dict[str, list[object]] = {
        "text": [
            '"',
            "\\",
            "\n",
            "\x01\x1f\x7f",
            "é",
            "😀",
            "</script>",
            "\u2028",
            "a" * 2000,
            *map(str, range(30)),
        ],
        "uuid": [f"00000000-0000-4000-8000-0000000000{n:02d}" for n in range(25)],
        "bigint": [-5, -4, -3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 22, 2**62],
    }
    table = await add_table(db, ids[id_type], id_type=id_type if id_type != "text" else 'text COLLATE "C"')
    odd = Sealing(db, sources, seal_keys, tmp_path, await add_job(db, table, id_type=id_type))
    await odd.plan()
    await odd.sign()
    sealed = await odd.complete()  # compares both
    rows = await db.fetch(
        "SELECT batch_no, first_id, last_id, records, ids FROM vaultstream.batches WHERE job_no = $1 ORDER BY batch_no",
        odd.job.job_no,
    )
    assert sealed.plans[0].ranges_sha256 == ranges_digest(
        PlannedBatch(
            number=row["batch_no"],
            first_id=row["first_id"],
            last_id=row["last_id"],
            records=row["records"],
            ids=row["ids"],
        )
        for row in rows
    )
    assert sealed.plans[0].records == len(ids[id_type])


async def test_a_log_of_another_job_with_the_same_origin_is_refused(
    sealing: Sealing, db: asyncpg.Connection, seal_keys: SealKeys
) -> None:
    other = await add_job(db)
    await db.execute(
        "INSERT INTO vaultstream.logs (origin, job_no) VALUES ($1, $2)",
        job_origin(seal_keys.origin, sealing.job.token),
        other.job_no,
    )
    await sealing.plan()
    with pytest.raises(ProofError, match="is of another job or tenant"):
        await sealing.sealer.seal(db)
