"""Batches that fail, down to the record at fault: the splitter in SQL, as the signers drive it."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.as_user import connect
from support.engine import (
    add_batches,
    add_job,
    claim_one,
    covered_by,
    dead_of,
    fail_one,
    signatures_of,
    signed,
)
from vaultstream.store.batches import fail_batch, pending_after
from vaultstream.store.jobs import Job, complete_job_if_settled, get_job
from vaultstream.store.leases import COMMITTED, SUPERSEDED, Lease, claim_batches, commit_batches
from vaultstream.store.progress import read_job

pytestmark = pytest.mark.integration


async def ids_of(db: asyncpg.Connection, job: Job, number: int) -> list[str]:
    row = await db.fetchrow(
        "SELECT * FROM vaultstream.batches WHERE job_no = $1 AND batch_no = $2", job.job_no, number
    )
    ids: list[str] | None = row["ids"]
    ids = ids or [str(n) for n in range(int(row["first_id"]), int(row["last_id"]) + 1)]
    assert (len(ids), ids[0], ids[-1]) == (row["records"], row["first_id"], row["last_id"])
    return ids


async def play(
    db: asyncpg.Connection, batches: list[list[Any]], bad: set[str], id_type: str, attempts: int
) -> None:
    """Signs what can be signed and fails what holds a bad record, until nothing is left."""
    job = await add_job(db, keys=1, id_type=id_type, retries={"maxAttempts": attempts})
    await add_batches(db, job, *batches)
    everything = sorted(str(i) for batch in batches for i in batch)
    failures = 0
    while numbers := await pending_after(db, job.job_no, 0, limit=3):
        for number in numbers:
            assert sorted(await covered_by(db, job, ["pending", "done"])) == everything
            ids = await ids_of(db, job, number)
            if bad & set(ids):
                for attempt in range(1, attempts + 1):
                    lease = await claim_one(db, job, "ann", number)
                    failure = await fail_batch(db, job.job_no, "ann", number, lease, error="of this record")
                    failures += 1
                    last = "dead" if len(ids) == 1 else "split"
                    assert (failure.outcome, failure.attempt) == (
                        last if attempt == attempts else "retry",
                        attempt,
                    )
                late = await fail_batch(db, job.job_no, "ann", number, lease, error="late")
                assert late.outcome == "settled"
            else:
                lease = await claim_one(db, job, "ann", number)
                own = [int(i) if id_type == "bigint" else i for i in ids]
                batch = signed(number, lease, own)
                assert await commit_batches(db, job.job_no, "ann", [batch], id_type=id_type) == [COMMITTED]
    assert set(await dead_of(db, job)) == bad
    assert {str(i) for i in await signatures_of(db, job)} == set(everything) - bad
    progress = (await read_job(db, job.token)).progress
    assert (progress.records, progress.dead, progress.signed) == (
        len(everything),
        len(bad),
        len(everything) - len(bad),
    )
    assert await complete_job_if_settled(db, job.job_no)


@st.composite
def failing_jobs(draw: st.DrawFn) -> tuple[list[list[Any]], set[str], str, int]:
    id_type = draw(st.sampled_from(["bigint", "text"]))
    if id_type == "bigint":
        start = draw(st.sampled_from([-(2**63), -5, 10**15]))
        steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 10**9]), min_size=1, max_size=40))
        ids: list[Any] = [start + sum(steps[:n]) for n in range(len(steps))]
    else:
        alphabet = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
        ids = draw(st.lists(st.text(alphabet, max_size=4), unique=True, min_size=1, max_size=40))
    size = draw(st.integers(1, 17))
    bad = draw(st.sets(st.sampled_from(ids), max_size=4))
    cut = [ids[at : at + size] for at in range(0, len(ids), size)]
    return cut, {str(i) for i in bad}, id_type, draw(st.integers(1, 3))


def test_exactly_the_records_at_fault_die_and_every_other_is_signed_once(engine_url: str) -> None:
    with asyncio.Runner() as runner:
        context = connect(engine_url)
        db = runner.run(context.__aenter__())

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(failing_jobs())
        def exactly_those(job: tuple[list[list[Any]], set[str], str, int]) -> None:
            runner.run(play(db, *job))

        try:
            exactly_those()
        finally:
            runner.run(context.__aexit__(None, None, None))


async def test_a_batch_split_under_a_signer_is_signed_in_its_parts_only(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1, 2, 3])
    lease = await claim_one(db, job, "ann", 1)
    assert (await fail_one(db, job, 1, holder="bob")).outcome == "split"
    batch = signed(1, lease, [1, 2, 3])
    assert await commit_batches(db, job.job_no, "ann", [batch], id_type="bigint") == [SUPERSEDED]
    assert await signatures_of(db, job) == {}
    assert await pending_after(db, job.job_no, 0, limit=9) == [2, 3]
    assert await claim_batches(db, job.job_no, "ann", [1], seconds=9) == []


async def test_a_failure_of_a_batch_that_was_signed_meanwhile_changes_nothing(db: asyncpg.Connection) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1])
    late = await claim_one(db, job, "bob", 1)
    batch = signed(1, await claim_one(db, job, "ann", 1), [1])
    assert await commit_batches(db, job.job_no, "ann", [batch], id_type="bigint") == [COMMITTED]
    assert (await fail_batch(db, job.job_no, "bob", 1, late, error="late")).outcome == "settled"
    assert await dead_of(db, job) == {}


async def test_two_signers_that_fail_one_batch_at_once_split_it_once(
    engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=4)
    await add_batches(db, job, [1, 2])
    leases = [await claim_one(db, job, "ann", 1) for _ in range(4)]

    async def fail(lease: Lease) -> str:
        async with connect(engine_url) as connection:
            return (await fail_batch(connection, job.job_no, "ann", 1, lease, error="x")).outcome

    assert sorted(await asyncio.gather(*map(fail, leases))) == ["settled"] * 3 + ["split"]
    assert (await get_job(db, job.token)).next_batch_no == 4
    assert sorted(await covered_by(db, job, ["pending"])) == ["1", "2"]


@pytest.mark.parametrize("text", ["a\0b", "half of a pair: \ud83d", "é" * 5000])
async def test_any_error_text_is_counted(db: asyncpg.Connection, text: str) -> None:
    job = await add_job(db)
    await add_batches(db, job, [1])
    assert (await fail_one(db, job, 1, text)).outcome == "dead"
    assert set(await dead_of(db, job)) == {"1"}
