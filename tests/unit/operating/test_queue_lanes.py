"""Lanes of the queue take turns: many keys of one do not hold up those of another."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.waiting import eventually
from vaultstream_operator.queue import HEAD_START_SECONDS, Schedule, WorkQueue

pytestmark = pytest.mark.unit

FLOOD = 1_000


def by_first_letter(key: str) -> str:
    return key[0]


def test_lanes_take_turns_however_many_keys_one_has() -> None:
    schedule: Schedule[str] = Schedule(lane=by_first_letter)
    for number in range(FLOOD):
        schedule.add(f"a{number}", 0.0)
    for key in ("b1", "b2", "c1"):
        schedule.add(key, 1.0)
    first = [schedule.take(2.0) for _ in range(6)]
    assert first == ["a0", "b1", "c1", "a1", "b2", "a2"]


def test_old_keys_of_one_lane_do_not_come_before_urgent_keys_of_another() -> None:
    schedule: Schedule[str] = Schedule(lambda key: key.endswith("urgent"), by_first_letter)
    for number in range(FLOOD):
        schedule.add(f"a{number}", 0.0)
    now = 2 * HEAD_START_SECONDS
    schedule.add("b urgent", now)
    taken = [schedule.take(now, only_urgent=True), schedule.take(now)]
    assert taken == ["b urgent", "a0"]


def test_a_lane_gets_all_workers_while_it_is_alone_and_half_of_them_while_it_is_not() -> None:
    schedule: Schedule[str] = Schedule(lane=by_first_letter, most=2)
    for number in range(FLOOD):
        schedule.add(f"a{number}", 0.0)
    assert [schedule.take(0.0) for _ in range(4)] == ["a0", "a1", "a2", "a3"]
    schedule.add("b1", 100.0)
    for key in ("a0", "a1"):
        schedule.done(key)
        assert schedule.take(0.0) is None
        assert schedule.next_time() == 100.0
    schedule.done("a2")
    assert schedule.take(0.0) == "a4"
    assert schedule.take(100.0) == "b1"
    schedule.done("b1")
    assert schedule.take(100.0) == "a5"


async def test_a_key_of_another_lane_starts_while_the_keys_of_a_flood_all_hang() -> None:
    started: list[str] = []

    async def hang(key: str) -> float | None:
        started.append(key)
        await asyncio.Event().wait()
        return None

    queue: WorkQueue[str] = WorkQueue(
        hang, workers=8, urgent=lambda key: key.endswith("urgent"), lane=by_first_letter
    )
    for number in range(FLOOD):
        queue.add(f"a{number}")
        queue.add(f"a{number} urgent")
    queue.add("b later", delay=1_000)
    running = asyncio.create_task(queue.run())
    await eventually(lambda: queue.busy == 4, seconds=10)
    queue.add("b1")
    queue.add("b2 urgent")
    await eventually(lambda: {"b1", "b2 urgent"} <= {*started}, seconds=10)
    assert Counter(map(by_first_letter, started)) == {"a": 4, "b": 2}
    running.cancel()


async def test_a_new_lane_is_next_when_a_flood_holds_all_workers() -> None:
    started: list[str] = []
    go_on: asyncio.Queue[None] = asyncio.Queue()

    async def process(key: str) -> float | None:
        started.append(key)
        await go_on.get()
        return None

    queue: WorkQueue[str] = WorkQueue(process, workers=8, urgent=lambda _: True, lane=by_first_letter)
    for number in range(FLOOD):
        queue.add(f"a{number}")
    running = asyncio.create_task(queue.run())
    await eventually(lambda: queue.busy == 8, seconds=10)
    queue.add("b1")
    go_on.put_nowait(None)
    await eventually(lambda: len(started) == 9, seconds=10)
    assert started[-1] == "b1"
    running.cancel()


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "take", "done", "fail"]), st.integers(0, 11), st.integers(0, 20)),
        max_size=60,
    )
)
def test_no_key_is_lost_and_no_lane_has_more_than_its_share(steps: list[tuple[str, int, int]]) -> None:
    schedule: Schedule[int] = Schedule(lambda key: key % 2 == 0, lambda key: key % 3, most=2, most_others=1)
    in_process: set[int] = set()
    wanted: set[int] = set()
    for step, key, at in steps:
        if step == "add":
            schedule.add(key, at)
            wanted.add(key)
        elif step == "take":
            before = Counter(each % 3 for each in in_process)
            lanes = {each % 3 for each in wanted | in_process}
            if (taken := schedule.take(at)) is not None:
                assert taken not in in_process
                assert len(lanes) == 1 or before[taken % 3] < 2
                in_process.add(taken)
                wanted.discard(taken)
        elif key in in_process:
            in_process.discard(key)
            if step == "done":
                schedule.done(key)
            else:
                schedule.failed(key, at, 0.5)
                wanted.add(key)
    while in_process or wanted:
        for key in in_process:
            schedule.done(key)
        in_process = set()
        while (taken := schedule.take(1e9)) is not None:
            in_process.add(taken)
            wanted.discard(taken)
        assert in_process or not wanted
    assert schedule.busy == len(schedule) == 0


def test_a_lane_of_several_keys_gets_its_turn_among_lanes_of_one_key_that_are_always_due() -> None:
    """A lane that begins again each time its key was processed must not be the next one each time."""
    schedule: Schedule[str] = Schedule(lane=by_first_letter)
    lanes = [chr(ord("a") + number) for number in range(19)]
    for key in (*(f"{lane}1" for lane in lanes), "z1", "z2"):
        schedule.add(key, 0.0)
    taken = Counter[str]()
    for now in range(400):
        key = schedule.take(float(now))
        assert key is not None
        taken[key[0]] += 1
        schedule.done(key, float(now))
    assert {*taken} == {*lanes, "z"}
    assert set(taken.values()) <= {19, 20, 21}
