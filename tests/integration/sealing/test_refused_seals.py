"""What somebody with all rights in Postgres changes before a seal, and what a sealer says to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.engine import open_context, worker_settings
from support.sealing import Sealing, copies
from support.waiting import eventually
from vaultstream.api import JobState
from vaultstream.api.signingjob import NOT_SEALED
from vaultstream.crypto.seal_keys import SealKeys
from vaultstream.errors import CustodyError, ProofError
from vaultstream.local.services import Services
from vaultstream.proof.merkle import Frontier
from vaultstream.proof.seal import job_origin
from vaultstream.records.sealing import Action, JobSealing
from vaultstream.records.worker import run_records_worker
from vaultstream.sealing.sealer import UnplannedError
from vaultstream.store import batches

pytestmark = pytest.mark.integration


@asynccontextmanager
async def as_owner(db: asyncpg.Connection) -> AsyncIterator[None]:
    """With the triggers off, as the owner of the tables can have them."""
    await db.execute("SET session_replication_role = replica")
    try:
        yield
    finally:
        await db.execute("RESET session_replication_role")


REMOVED = {
    "a batch": (
        (
            "DELETE FROM vaultstream.batches WHERE job_no = {no} AND batch_no = 2; "
            "DELETE FROM vaultstream.statements WHERE job_no = {no} AND batch_no = 2; "
            "DELETE FROM vaultstream.signatures_{no} WHERE record_id BETWEEN 11 AND 20"
        ),
        "the number of batches was 3 and is 2; the number of records was 25 and is 15; the digest",
    ),
    "the last batch": (
        (
            "DELETE FROM vaultstream.batches WHERE job_no = {no} AND batch_no = 3; "
            "DELETE FROM vaultstream.statements WHERE job_no = {no} AND batch_no = 3; "
            "UPDATE vaultstream.jobs SET next_batch_no = 3 WHERE job_no = {no}"
        ),
        "the number of batches was 3 and is 2",
    ),
    "a statement": (
        "DELETE FROM vaultstream.statements WHERE job_no = {no} AND batch_no = 3",
        "the number of records was 25 and is 20",
    ),
    "a dead letter": (
        "DELETE FROM vaultstream.dead_letters WHERE job_no = {no}",
        "the number of records was 25 and is 24",
    ),
    "records of a batch": (
        "UPDATE vaultstream.batches SET last_id = '24', records = 4, signed = 4 WHERE job_no = {no} AND batch_no = 3",
        "the digest of the batches",
    ),
    "a batch for another": (
        "UPDATE vaultstream.batches SET first_id = '31', last_id = '35' WHERE job_no = {no} AND batch_no = 3",
        "the digest of the batches",
    ),
    "the highest id": (
        "UPDATE vaultstream.jobs SET upper_id = '20' WHERE job_no = {no}",
        "the upper id was '25' and is '20'",
    ),
}


async def without_a_batch(sealing: Sealing, db: asyncpg.Connection) -> None:
    """Plans and signs a job; then removes its second batch with all that belongs to it."""
    await sealing.plan()
    await sealing.sign()
    async with as_owner(db):
        await db.execute(REMOVED["a batch"][0].format(no=sealing.job.job_no))


@pytest.mark.parametrize("what", REMOVED)
async def test_a_job_that_has_not_done_what_was_planned_is_not_completed(
    sealing: Sealing, db: asyncpg.Connection, what: str
) -> None:
    tampering, difference = REMOVED[what]
    await sealing.plan()
    await sealing.sign(dead=[7])
    async with as_owner(db):
        await db.execute(tampering.format(no=sealing.job.job_no))
    with pytest.raises(UnplannedError) as caught:
        await sealing.sealer.complete(db)
    assert difference in caught.value.message
    assert (await sealing.current()).state is JobState.RUNNING
    assert not (await sealing.read()).seals


async def test_a_batch_that_was_added_is_noticed(sealing: Sealing, db: asyncpg.Connection) -> None:
    await sealing.plan()
    await db.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id) VALUES ($1, 4, 1, '99', '99'); ".replace(
            "$1", str(sealing.job.job_no)
        )
        + f"UPDATE vaultstream.jobs SET next_batch_no = 5 WHERE job_no = {sealing.job.job_no}"
    )
    await sealing.sign()
    with pytest.raises(UnplannedError, match="the number of batches was 3 and is 4"):
        await sealing.sealer.complete(db)


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM vaultstream.statements WHERE job_no = {no} AND batch_no = 1",
        "UPDATE vaultstream.statements SET signature = 'x' WHERE job_no = {no} AND batch_no = 1",
        "UPDATE vaultstream.log_entries SET body = replace(body, '7', '8') WHERE job_no = {no} AND kind = 'dead-letter'",
        "UPDATE vaultstream.log_entries SET leaf = sha256('x') WHERE job_no = {no} AND kind = 'dead-letter'",
    ],
)
async def test_what_was_sealed_and_is_gone_is_noticed_at_the_end(
    sealing: Sealing, db: asyncpg.Connection, tampering: str
) -> None:
    await sealing.plan()
    await sealing.sign(1, dead=[7])
    assert await sealing.sealer.seal(db) is not None
    async with as_owner(db):
        await db.execute(tampering.format(no=sealing.job.job_no))
    await sealing.sign()
    with pytest.raises(
        UnplannedError, match=r"entry [01] of the log .* was removed or altered: it is of batch 1"
    ):
        await sealing.sealer.complete(db)


async def test_a_worker_fails_such_a_job_with_the_difference_as_its_message(
    sealing: Sealing, db: asyncpg.Connection, services: Services, engine_url: str
) -> None:
    await without_a_batch(sealing, db)
    given = {"seal_key_file": sealing.write_key(), "seals_dir": sealing.folder}
    async with open_context(services, engine_url, sealing.job, **given) as context:
        worker = await JobSealing.of(context)
        await worker.resume(db, await sealing.current())
        assert await worker.complete(db)
        await worker.seal_the_rest()
    job = await sealing.current()
    assert job.state is JobState.FAILED
    assert job.message is not None
    assert "the number of batches was 3 and is 2" in job.message
    assert [seal.state for seal in (await sealing.read()).seals] == ["Failed"]


@pytest.mark.parametrize("what", ["the plan", "a batch"])
async def test_a_worker_without_the_seal_key_does_not_take_over_a_sealed_job(
    sealing: Sealing, db: asyncpg.Connection, services: Services, engine_url: str, what: str
) -> None:
    given = {"seal_key_file": sealing.folder.parent / "none", "seals_dir": sealing.folder}
    async with open_context(services, engine_url, sealing.job, **given) as context:
        await JobSealing.of(context)
        await sealing.plan()
        if what == "a batch":
            await sealing.sign(1)
            assert await sealing.sealer.seal(db) is not None
        with pytest.raises(CustodyError, match="was sealed before, and there is no seal key at"):
            await JobSealing.of(context)


async def roll_back(db: asyncpg.Connection, origin: str, size: int) -> None:
    """Takes a log back to one of its checkpoints, as a restore from a backup does."""
    log_no = await db.fetchval("SELECT log_no FROM vaultstream.logs WHERE origin = $1", origin)
    leaves = await db.fetch(
        "SELECT leaf FROM vaultstream.log_entries WHERE log_no = $1 ORDER BY index", log_no
    )
    tree = Frontier().extend(row["leaf"] for row in leaves[:size])
    async with as_owner(db):
        await db.execute(
            "DELETE FROM vaultstream.log_entries WHERE log_no = $1 AND index >= $2", log_no, size
        )
        await db.execute("DELETE FROM vaultstream.checkpoints WHERE log_no = $1 AND size > $2", log_no, size)
        await db.execute(
            "UPDATE vaultstream.logs SET size = $2, frontier = $3 WHERE log_no = $1",
            log_no,
            size,
            b"".join(tree.subtrees),
        )


async def sealed_and_rolled_back(sealing: Sealing, size: int) -> None:
    """Plans a job, seals its first batch, and takes the log of seals back to this size and the job's log to its beginning."""
    await sealing.plan()
    await sealing.sign(1)
    assert await sealing.sealer.seal(sealing.db) is not None
    await roll_back(sealing.db, sealing.keys.origin, size)
    await roll_back(sealing.db, job_origin(sealing.keys.origin, sealing.job.token), 0)


async def a_log_that_was_rolled_back(sealing: Sealing) -> None:
    await sealed_and_rolled_back(sealing, 0)


async def a_plan_that_can_not_be_read(sealing: Sealing) -> None:
    await sealing.start()
    while not await sealing.plan_page():
        pass
    [kept] = sealing.folder.rglob("planning.json")
    kept.write_text("{}")


async def a_folder_that_can_not_be_read(sealing: Sealing) -> None:
    await a_plan_that_can_not_be_read(sealing)
    [kept] = sealing.folder.rglob("planning.json")
    kept.unlink()
    kept.mkdir()


@pytest.mark.parametrize(
    "trouble", [a_log_that_was_rolled_back, a_plan_that_can_not_be_read, a_folder_that_can_not_be_read]
)
async def test_a_worker_that_can_not_seal_publishes_on_and_completes_the_job_once_it_can(
    sealing: Sealing, services: Services, engine_url: str, trouble: Callable[[Sealing], Awaitable[None]]
) -> None:
    await trouble(sealing)
    given = {"seal_key_file": sealing.write_key(), "seals_dir": sealing.folder}
    working = asyncio.create_task(
        run_records_worker(worker_settings(services, engine_url, **given), sealing.job.token)
    )

    async def published_and_told() -> bool:
        if working.done():
            working.result()
        job = await sealing.current()
        return job.published_through == 3 and (job.message or "").startswith(NOT_SEALED)

    await eventually(published_and_told)
    await sealing.sign()
    assert (await sealing.current()).state is JobState.RUNNING
    sealing.folder.rename(sealing.folder.with_name("aside"))
    await asyncio.wait_for(working, 30)
    job = await sealing.current()
    assert (job.state, job.message) == (JobState.COMPLETE, None)
    assert [seal.state for seal in (await sealing.read()).seals][-1] == "Complete"


async def test_a_worker_whose_seal_key_is_gone_waits_for_it(
    sealing: Sealing, db: asyncpg.Connection, services: Services, engine_url: str
) -> None:
    await sealing.plan()
    await sealing.sign()
    key = sealing.write_key()
    async with open_context(
        services, engine_url, sealing.job, seal_key_file=key, seals_dir=sealing.folder
    ) as context:
        worker = await JobSealing.of(context)
        assert await worker.resume(db, await sealing.current())
        kept = key.rename(key.with_name("elsewhere"))
        for _ in range(2):  # the second is not due yet
            assert not await worker.complete(db)
        refused = context.telemetry.metrics.records.seals_refused
        assert refused._value.get() == 1
        assert ((await sealing.current()).message or "").startswith(NOT_SEALED)
        kept.rename(key)
        await worker.pause(Action.COMPLETE)
        assert await worker.complete(db)
    assert (await sealing.current()).message is None


async def test_a_seal_takes_back_no_refusal_of_the_plan(
    sealing: Sealing, db: asyncpg.Connection, services: Services, engine_url: str
) -> None:
    await without_a_batch(sealing, db)
    given = {"seal_key_file": sealing.write_key(), "seals_dir": sealing.folder.with_name("other")}
    async with open_context(services, engine_url, sealing.job, **given) as context:
        worker = await JobSealing.of(context)
        assert await worker.resume(db, await sealing.current())
        assert not await worker.state_plan()
        message = (await sealing.current()).message or ""
        assert message.startswith(NOT_SEALED)
        for _ in range(2):  # the first one is not at an interval
            await worker.step()
        assert [seal.state for seal in (await sealing.read()).seals] == ["Running"]
        assert (await sealing.current()).message == message == worker.told
        refused = context.telemetry.metrics.records.seals_refused
        before = refused._value.get()
        assert not await worker.state_plan()
        assert refused._value.get() == before, "it is not due yet"


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("of_job", "size"), [(False, 0), (False, 1), (True, 0), (True, 2)])
async def test_a_log_that_was_rolled_back_is_refused(
    sealing: Sealing, db: asyncpg.Connection, size: int, of_job: bool, restarted: bool
) -> None:
    await sealing.plan()
    for number in (1, 2):
        await sealing.sign(number)
        await sealing.sealer.seal(db)
    name = sealing.keys.origin
    await roll_back(db, job_origin(name, sealing.job.token) if of_job else name, size)
    await sealing.sign(3)
    if restarted:
        await sealing.restart()
    before = copies(sealing.folder)
    for action in (sealing.sealer.seal, sealing.sealer.complete):
        with pytest.raises(ProofError, match="was rolled back: it had") as caught:
            await action(db)
        assert not isinstance(caught.value, UnplannedError)
    assert (await sealing.current()).state is JobState.RUNNING
    assert copies(sealing.folder) == before


async def test_a_log_that_was_rolled_back_and_has_grown_again_elsewhere_is_refused(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealed_and_rolled_back(sealing, 0)
    await sealing.restart(sealing.folder.with_name("another"))  # it knows nothing of the former seals
    await sealing.sealer.state_plan(db)
    for number in (2, 3):
        await sealing.sign(number)
        await sealing.sealer.seal(db)
    await sealing.read()
    await sealing.restart(sealing.folder.with_name("seals"))
    with pytest.raises(ProofError, match="was rolled back"):
        await sealing.sealer.seal(db)


async def test_after_a_restore_seals_continue_once_the_folder_was_moved_aside(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    await sealed_and_rolled_back(sealing, 1)
    await sealing.sign()
    sealing.folder.rename(sealing.folder.with_name("aside"))
    await sealing.restart()
    await sealing.sealer.state_plan(db)
    assert len((await sealing.complete()).complete) == 1


@pytest.mark.parametrize(
    "forgery",
    [
        # an entry of one's own, for the next checkpoint to cover
        (
            "INSERT INTO vaultstream.log_entries (log_no, index, kind, job_no, body, leaf) "
            "SELECT log_no, size, 'seal', {no}, '', sha256('\\x00') FROM vaultstream.logs WHERE origin = '{origin}'; "
            "UPDATE vaultstream.logs SET size = size + 1, frontier = sha256('\\x00') || frontier WHERE origin = '{origin}'"
        ),
        "UPDATE vaultstream.logs SET frontier = sha256('') || sha256('') WHERE origin = '{origin}'",
        "DELETE FROM vaultstream.checkpoints c USING vaultstream.logs l WHERE l.log_no = c.log_no AND l.origin = '{origin}'",
        "UPDATE vaultstream.checkpoints SET note = replace(note, 'e', 'f')",
    ],
)
async def test_no_checkpoint_is_signed_over_what_others_have_entered(
    sealing: Sealing, db: asyncpg.Connection, seal_keys: SealKeys, forgery: str
) -> None:
    await sealing.plan()
    await sealing.sign(1)
    await sealing.sealer.seal(db)
    await sealing.sign()
    signed = await db.fetchval("SELECT count(*) FROM vaultstream.checkpoints")
    transaction = db.transaction()
    await transaction.start()
    async with as_owner(db):
        await db.execute(forgery.format(no=sealing.job.job_no, origin=seal_keys.origin))
        left = await db.fetchval("SELECT count(*) FROM vaultstream.checkpoints")
    for sealer in (sealing.sealer, await sealing.restart()):
        with pytest.raises(ProofError):
            await sealer.seal(db)
    assert await db.fetchval("SELECT count(*) FROM vaultstream.checkpoints") == left <= signed
    await transaction.rollback()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch in each page."""
    monkeypatch.setattr(batches, "PAGE_RECORDS", 10)


async def test_a_restart_with_the_folder_notices_what_was_altered_before_it(
    sealing: Sealing, db: asyncpg.Connection, small_pages: None
) -> None:
    await sealing.start()
    assert not await sealing.plan_page()
    async with as_owner(db):
        await db.execute(
            "UPDATE vaultstream.batches SET last_id = '9', records = 9 WHERE job_no = $1 AND batch_no = 1",
            sealing.job.job_no,
        )
    with pytest.raises(ProofError, match="are not those that were planned"):
        await sealing.restart()


@pytest.mark.parametrize("kept", [True, False])
async def test_planning_continues_after_a_restart(
    sealing: Sealing, db: asyncpg.Connection, small_pages: None, kept: bool
) -> None:
    await sealing.start()
    assert not await sealing.plan_page()
    await sealing.restart(None if kept else sealing.folder.with_name("other"))
    while not await sealing.plan_page():
        pass
    await sealing.sealer.state_plan(db)
    await sealing.sign()
    assert (await sealing.complete()).plans[0].batches == 3


async def test_a_page_whose_answer_was_lost_is_read_from_postgres(
    sealing: Sealing, db: asyncpg.Connection, small_pages: None
) -> None:
    await sealing.start()
    assert not await sealing.plan_page()
    assert not await sealing.plan_page(follow=False)
    assert await sealing.plan_page()
    await sealing.sealer.state_plan(db)
    await sealing.sign()
    await sealing.complete()


@pytest.mark.parametrize("restarted", ["with the folder", "elsewhere"])
async def test_a_restart_after_planning_keeps_the_plan(
    sealing: Sealing, db: asyncpg.Connection, restarted: str
) -> None:
    await without_a_batch(sealing, db)
    elsewhere = restarted == "elsewhere"
    await sealing.restart(sealing.folder.with_name("other") if elsewhere else None)
    if elsewhere:  # the plan that was entered is not the one that Postgres shows now
        with pytest.raises(ProofError, match="is not the one that was entered"):
            await sealing.sealer.state_plan(db)
        return
    await sealing.sealer.state_plan(db)
    with pytest.raises(UnplannedError, match="the number of batches was 3 and is 2"):
        await sealing.sealer.complete(db)
