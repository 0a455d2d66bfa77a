"""What the database's owner does to logs is named by whoever kept an older checkpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from support.engine import add_job
from support.log_of_seals import LogOfSeals, new_key
from vaultstream.audit.seals.log_history import LogProblem, LogReport, examine_log, open_kept
from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.merkle import Frontier, leaf_hash
from vaultstream.proof.seal import DELETED, job_origin
from vaultstream.store.jobs import delete_job
from vaultstream.store.logs import EntryKind, find_log, leaf_hashes, lock_log

if TYPE_CHECKING:
    import asyncpg

    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration

OF_LOG = "WHERE log_no = (SELECT log_no FROM vaultstream.logs WHERE origin = $1)"
ENTRIES = f"vaultstream.log_entries {OF_LOG}"
UPDATED = "UPDATE vaultstream.log_entries SET"


@dataclass
class Story:
    """Two jobs: `done` is planned and sealed as complete, `running` is planned and was sealed once. `kept` has all of it."""

    url: str
    log: LogOfSeals
    done: Job
    running: Job
    older: bytes
    kept: bytes

    async def report(self, since: bytes | None = None) -> LogReport:
        keys = [self.log.key.public_key]
        return await examine_log(self.url, open_kept(since or self.kept, keys), keys)

    async def problems(self, since: bytes | None = None) -> list[str]:
        return [finding.problem.value for finding in (await self.report(since)).findings]

    async def set_tree(self, leaves: list[bytes], origin: str | None = None) -> None:
        """Makes a log consist of other leaves, as who has no key can: size and frontier are right, no checkpoint is."""
        tree = Frontier().extend(leaves)
        await self.log.tamper(
            "UPDATE vaultstream.logs SET size = $2, frontier = $3 WHERE origin = $1",
            origin or self.log.origin,
            tree.size,
            b"".join(tree.subtrees),
        )


@pytest.fixture
async def story(db: asyncpg.Connection, engine_url: str) -> Story:
    log = LogOfSeals(db)
    done, running = await add_job(db, keys=1), await add_job(db, keys=1)
    await log.plan(done)
    older = await log.plan(running)
    await log.seal(running, "one", state="Running")
    kept = await log.seal(done, "one", "two", "three")
    return Story(engine_url, log, done, running, older, kept)


async def test_a_log_that_only_grew_holds(story: Story) -> None:
    for since in (story.older, story.kept):
        report = await story.report(since)
        assert (report.ok, report.size, report.jobs) == (True, 4, 2)
    await story.log.seal(story.done, "four")
    report = await story.report()
    assert (report.ok, report.since.size, report.size) == (True, 4, 5)
    assert report.to_json()["findings"] == []


async def test_an_empty_log_is_continued_by_each(story: Story) -> None:
    fresh = LogOfSeals(story.log.db)
    first = await fresh.sign(await lock_log(story.log.db, fresh.origin))
    await fresh.plan(story.running)
    keys = [fresh.key.public_key]
    assert (await examine_log(story.url, open_kept(first, keys), keys)).ok


async def removed_log(story: Story) -> None:
    for table in ("log_entries", "checkpoints", "logs"):
        await story.log.tamper(
            f"DELETE FROM vaultstream.{table} {OF_LOG}",
            story.log.origin,
        )


async def rolled_back(story: Story) -> None:
    """All of Postgres is as it was at the older checkpoint."""
    log = await find_log(story.log.db, story.log.origin)
    assert log is not None
    leaves = await leaf_hashes(story.log.db, log)
    await story.log.tamper(f"DELETE FROM {ENTRIES} AND index >= 2", story.log.origin)
    await story.log.tamper("DELETE FROM vaultstream.checkpoints WHERE log_no = $1 AND size > 2", log.log_no)
    await story.set_tree(leaves[:2])


async def last_entry_removed(story: Story) -> None:
    await story.log.tamper(f"DELETE FROM {ENTRIES} AND index = 3", story.log.origin)


async def middle_entry_removed(story: Story) -> None:
    await story.log.tamper(f"DELETE FROM {ENTRIES} AND index = 1", story.log.origin)


async def entry_altered(story: Story) -> None:
    await story.log.tamper(
        f"{UPDATED} body = replace(body, $2, $3) {OF_LOG} AND index = 3",
        story.log.origin,
        '"signed":3',
        '"signed":2',
    )


async def entry_without_text(story: Story) -> None:
    await story.log.tamper(f"{UPDATED} body = NULL {OF_LOG} AND index = 0", story.log.origin)


async def entry_altered_with_its_leaf(story: Story) -> None:
    """With size and frontier to match: all but the signature."""
    log = await find_log(story.log.db, story.log.origin)
    assert log is not None
    leaves = await leaf_hashes(story.log.db, log)
    body = await story.log.db.fetchval(f"SELECT body FROM {ENTRIES} AND index = 1", story.log.origin)
    body = body.replace('"records":3', '"records":2')
    leaves[1] = leaf_hash(body.encode())
    await story.log.tamper(
        f"{UPDATED} body = $2, leaf = $3 {OF_LOG} AND index = 1",
        story.log.origin,
        body,
        leaves[1],
    )
    await story.set_tree(leaves)


async def entry_added(story: Story) -> None:
    await story.log.append(story.running, EntryKind.PLAN, f'{{"jobToken":"{story.running.token}"}}')


async def signed_by_another_key(story: Story) -> None:
    log = await story.log.append(
        story.running,
        EntryKind.SEAL,
        await story.log.db.fetchval(f"SELECT body FROM {ENTRIES} AND index = 2", story.log.origin),
    )
    await story.log.sign(log, new_key(story.log.origin))


async def checkpoints_removed(story: Story) -> None:
    await story.log.tamper(
        f"DELETE FROM vaultstream.checkpoints {OF_LOG}",
        story.log.origin,
    )


async def frontier_that_is_no_tree(story: Story) -> None:
    await story.log.tamper("UPDATE vaultstream.logs SET frontier = '' WHERE origin = $1", story.log.origin)


async def planned_job_removed(story: Story) -> None:
    """Row, statements, log and all."""
    await delete_job(story.log.db, story.running.job_no, "Delete")


async def unsealed_plan_of_a_job_that_is_gone(story: Story) -> None:
    job = await add_job(story.log.db, keys=1)
    await story.log.plan(job)
    await delete_job(story.log.db, job.job_no, "Retain")


async def job_log_removed(story: Story) -> None:
    origin = job_origin(story.log.origin, story.done.token)
    await story.log.tamper(f"DELETE FROM {ENTRIES}", origin)
    await story.set_tree([], origin)


async def job_log_cut(story: Story) -> None:
    origin = job_origin(story.log.origin, story.done.token)
    await story.log.tamper(f"DELETE FROM {ENTRIES} AND index = 2", origin)


async def job_log_of_others(story: Story) -> None:
    origin = job_origin(story.log.origin, story.done.token)
    leaves = [leaf_hash(text) for text in (b"one", b"two", b"four")]
    await story.log.tamper(f"{UPDATED} leaf = $2 {OF_LOG} AND index = 2", origin, leaves[2])
    await story.set_tree(leaves, origin)


async def ended_job_removed(story: Story) -> None:
    """As a deletion removes it."""
    await delete_job(story.log.db, story.done.job_no, "Delete")


P = LogProblem
TAMPERINGS: list[tuple[Callable[[Story], Awaitable[None]], set[LogProblem]]] = [
    (removed_log, {P.LOG_MISSING}),
    (rolled_back, {P.LOG_SHORTER}),
    (last_entry_removed, {P.ENTRY_MISSING}),
    (middle_entry_removed, {P.ENTRY_MISSING}),
    (entry_altered, {P.ENTRY_ALTERED}),
    (entry_without_text, {P.ENTRY_MISSING}),
    (entry_altered_with_its_leaf, {P.OTHER_HISTORY, P.NOT_SIGNED}),
    (entry_added, {P.NOT_SIGNED, P.ENTRY_ALTERED}),
    (signed_by_another_key, {P.UNKNOWN_KEY}),
    (checkpoints_removed, {P.NOT_SIGNED}),
    (frontier_that_is_no_tree, {P.NOT_SIGNED}),
    (planned_job_removed, {P.JOB_NOT_SEALED}),
    (ended_job_removed, {P.JOB_NOT_SEALED}),
    (unsealed_plan_of_a_job_that_is_gone, {P.JOB_NOT_SEALED}),
    (job_log_removed, {P.JOB_LOG_ALTERED}),
    (job_log_cut, {P.JOB_LOG_ALTERED}),
    (job_log_of_others, {P.JOB_LOG_ALTERED}),
]


@pytest.mark.parametrize(
    ("tamper", "problems"), TAMPERINGS, ids=[tamper.__name__ for tamper, _ in TAMPERINGS]
)
async def test_what_was_done_to_a_log_is_named(
    story: Story, tamper: Callable[[Story], Awaitable[None]], problems: set[LogProblem]
) -> None:
    assert await story.problems() == []
    await tamper(story)
    assert set(await story.problems()) == {problem.value for problem in problems}


async def test_a_rollback_to_the_kept_checkpoint_is_not_seen(story: Story) -> None:
    """What nobody has kept a checkpoint of can't be seen."""
    await rolled_back(story)
    assert await story.problems(story.older) == []


async def test_the_text_of_an_entry_of_a_deleted_job_may_be_erased(story: Story) -> None:
    log = await find_log(story.log.db, job_origin(story.log.origin, story.done.token))
    assert log is not None
    kept = await story.log.sign(log)
    assert (await story.report(kept)).size == 3
    await story.log.tamper(f"{UPDATED} body = NULL {OF_LOG} AND index = 1", log.origin)
    assert await story.problems(kept) == ["EntryMissing"]
    await delete_job(story.log.db, story.done.job_no, "Delete")
    report = await story.report(kept)
    assert (report.ok, report.erased) == (True, 3)


async def test_a_job_may_be_deleted_with_its_data_if_that_is_sealed(story: Story) -> None:
    await story.log.seal(story.done, state=DELETED)
    await delete_job(story.log.db, story.done.job_no, "Delete")
    assert await story.problems() == []


@pytest.mark.parametrize("origin", ["elsewhere.example", "log"])
def test_a_kept_checkpoint_of_another_installation_is_refused(origin: str) -> None:
    key = new_key("log.example")
    note = sign_checkpoint(Checkpoint(origin, 0, bytes(32)), key)
    with pytest.raises(ProofError, match=r"and not of one of 'log\.example'"):
        open_kept(note, [key.public_key])


async def test_a_kept_checkpoint_under_an_unknown_key_is_refused(story: Story) -> None:
    with pytest.raises(ProofError, match="signed by no known key"):
        open_kept(story.kept, [new_key(story.log.origin).public_key])
