"""The queue of keys: each key once at a time, the earliest first, and later after each failure."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.waiting import eventually
from vaultstream.errors import ServiceError
from vaultstream_operator.queue import (
    FIRST_DELAY_SECONDS,
    HEAD_START_SECONDS,
    MOST_DELAY_SECONDS,
    Schedule,
    WorkQueue,
    backoff,
)

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def test_a_key_that_was_added_twice_is_returned_once() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 1.0)
    schedule.add("a", 1.0)
    assert schedule.take(1.0) == "a"
    assert schedule.take(1.0) is None


def test_the_earlier_time_wins() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 10.0)
    schedule.add("a", 5.0)
    schedule.add("a", 20.0)
    assert schedule.next_time() == 5.0
    assert schedule.take(4.9) is None
    assert schedule.take(5.0) == "a"
    schedule.done("a")
    assert schedule.take(100.0) is None


def test_the_earliest_key_comes_first() -> None:
    schedule: Schedule[str] = Schedule()
    for key, at in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        schedule.add(key, at)
    assert [schedule.take(9.0) for _ in range(4)] == ["early", "middle", "late", None]


def test_urgent_keys_come_first_but_no_key_waits_forever() -> None:
    schedule: Schedule[str] = Schedule(lambda key: key.startswith("urgent"))
    times = {"old": 0.0, "urgent 1": HEAD_START_SECONDS - 1, "urgent 2": HEAD_START_SECONDS + 1, "new": 2.0}
    for key, at in times.items():
        schedule.add(key, at)
    now = 2 * HEAD_START_SECONDS
    assert [schedule.take(now) for _ in times] == ["urgent 1", "old", "urgent 2", "new"]
    assert schedule.time_of("urgent 2") == times["urgent 2"]


def test_an_urgent_key_is_not_returned_before_its_time() -> None:
    schedule: Schedule[str] = Schedule(lambda key: key == "urgent")
    schedule.add("urgent", 5.0)
    schedule.add("other", 1.0)
    assert schedule.next_time() == 1.0
    assert schedule.next_time(only_urgent=True) == 5.0
    assert schedule.take(1.0, only_urgent=True) is None
    assert schedule.take(1.0) == "other"


def test_a_key_in_process_is_not_returned_again_until_it_is_done() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 1.0)
    assert schedule.take(1.0) == "a"
    schedule.add("a", 1.0)
    assert schedule.take(9.0) is None
    assert schedule.next_time() is None
    schedule.done("a")
    assert schedule.take(9.0) == "a"


def test_a_failing_key_waits_longer_each_time_even_if_it_is_added_again() -> None:
    schedule: Schedule[str] = Schedule()
    now, delays = 0.0, []
    schedule.add("a", now)
    for _ in range(4):
        assert schedule.take(now) == "a"
        schedule.add("a", now)
        delays.append(schedule.failed("a", now, share=1.0))
        assert schedule.take(now) is None
        now += delays[-1]
    assert delays == [FIRST_DELAY_SECONDS * 2**n for n in range(4)]
    assert schedule.take(now) == "a"
    schedule.done("a")
    schedule.add("a", now)
    assert schedule.take(now) == "a"
    assert schedule.failed("a", now, share=1.0) == FIRST_DELAY_SECONDS


def test_a_change_brings_a_key_that_failed_forward() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 0.0)
    schedule.take(0.0)
    schedule.failed("a", 0.0, share=1.0)
    schedule.add("a", 0.1)
    assert schedule.take(0.1) == "a"


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_delay_is_bounded(failures: int, share: float) -> None:
    assert FIRST_DELAY_SECONDS / 2 <= backoff(failures, share) <= MOST_DELAY_SECONDS


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "take", "done", "fail"]), st.integers(0, 3), st.integers(0, 20))
    )
)
def test_no_key_is_processed_twice_at_a_time_and_none_is_lost(steps: list[tuple[str, int, int]]) -> None:
    schedule: Schedule[int] = Schedule(lambda key: key % 2 == 0)
    in_process: set[int] = set()
    wanted: set[int] = set()
    for step, key, at in steps:
        if step == "add":
            schedule.add(key, at)
            wanted.add(key)
        elif step == "take":
            taken = schedule.take(at)
            if taken is not None:
                assert taken not in in_process
                in_process.add(taken)
                wanted.discard(taken)
        elif key in in_process:
            in_process.discard(key)
            if step == "done":
                schedule.done(key)
            else:
                schedule.failed(key, at, 0.5)
                wanted.add(key)
    for key in in_process:
        schedule.done(key)
    handed = set()
    while (taken := schedule.take(1e9)) is not None:
        handed.add(taken)
    assert handed == wanted


async def test_a_failed_reconcile_is_retried() -> None:
    reconciles: list[str] = []

    async def reconcile(key: str) -> float | None:
        reconciles.append(key)
        if len(reconciles) == 1:
            raise ValueError("not yet")
        return None

    queue: WorkQueue[str] = WorkQueue(reconcile)
    running = asyncio.create_task(queue.run())
    queue.add("a")
    await eventually(lambda: len(reconciles) == 2, seconds=5)
    running.cancel()


@pytest.mark.parametrize(
    ("error", "with_traceback"), [(ServiceError("Postgres does not answer."), False), (KeyError("x"), True)]
)
async def test_a_failed_reconcile_is_logged_at_the_level_that_the_runbook_names(
    caplog: pytest.LogCaptureFixture, error: Exception, with_traceback: bool
) -> None:
    async def fail(_: str) -> float | None:
        raise error

    queue: WorkQueue[str] = WorkQueue(fail)
    running = asyncio.create_task(queue.run())
    queue.add("shop/receipts")
    await eventually(lambda: caplog.records, seconds=5)
    running.cancel()
    entry = caplog.records[0]
    section = (ROOT / "docs/runbooks.md").read_text().partition("### VaultStreamOperatorFailing\n")[2]
    [told] = re.findall(r"level `(\w+)` in the operator's log, `([^:`]+):", section.partition("\n###")[0])
    assert (entry.levelname, entry.getMessage().partition(":")[0]) == told
    assert vars(entry)["key"] == "shop/receipts"
    assert bool(entry.exc_info) is with_traceback


async def test_a_reconcile_that_hangs_is_canceled_and_the_others_continue() -> None:
    reconciles: list[str] = []

    async def reconcile(key: str) -> float | None:
        reconciles.append(key)
        if key == "stuck":
            await asyncio.Event().wait()
        return None

    queue: WorkQueue[str] = WorkQueue(reconcile, workers=1, limit=0.05)
    running = asyncio.create_task(queue.run())
    queue.add("stuck")
    queue.add("other")
    await eventually(lambda: reconciles.count("stuck") == 2 and "other" in reconciles, seconds=5)
    running.cancel()


async def test_at_most_one_key_per_worker_is_reconciled_at_a_time() -> None:
    most = running = 0
    go_on = asyncio.Event()

    async def reconcile(_: int) -> float | None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return None

    queue: WorkQueue[int] = WorkQueue(reconcile, workers=4, urgent=lambda key: key >= 10)
    task = asyncio.create_task(queue.run())
    for key in range(10):
        queue.add(key)
    await eventually(lambda: running == 1, seconds=5)
    assert (queue.busy, queue.depth) == (1, 9)  # the others are reserved for urgent keys
    for key in range(10, 16):
        queue.add(key)
    await eventually(lambda: running == 4, seconds=5)
    assert (queue.busy, queue.depth) == (4, 12)
    go_on.set()
    await eventually(lambda: running == 0 and queue.depth == 0, seconds=5)
    assert most == 4
    task.cancel()


async def test_a_reconcile_can_request_the_next_one() -> None:
    reconciles: list[float] = []

    async def reconcile(_: str) -> float | None:
        reconciles.append(asyncio.get_running_loop().time())
        return 0.05 if len(reconciles) < 3 else None

    queue: WorkQueue[str] = WorkQueue(reconcile)
    running = asyncio.create_task(queue.run())
    queue.add("a")
    await eventually(lambda: len(reconciles) == 3, seconds=5)
    assert all(after - before >= 0.05 for before, after in pairwise(reconciles))
    running.cancel()
