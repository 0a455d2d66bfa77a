"""The budget of bytes, under any order of taking, freeing and being canceled."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.signing.budget import ByteBudget

pytestmark = pytest.mark.unit

TOTAL = 10


@given(st.lists(st.tuples(st.integers(0, TOTAL), st.integers(0, 3), st.booleans()), max_size=20))
def test_the_budget_is_never_exceeded_and_everyone_has_a_turn(users: list[tuple[int, int, bool]]) -> None:
    async def use() -> None:
        budget, held, served = ByteBudget(TOTAL), 0, 0

        async def one(wanted: int, turns: int) -> None:
            nonlocal held, served
            await budget.take(wanted)
            held += wanted
            assert held <= TOTAL
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                held -= wanted
                budget.free(wanted)
            served += 1

        tasks = [asyncio.create_task(one(wanted, turns)) for wanted, turns, _ in users]
        await asyncio.sleep(0)
        leaving = [task for task, (_, _, leaves) in zip(tasks, users, strict=True) if leaves]
        for task in leaving:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert all(task.exception() is None for task in tasks if not task.cancelled())
        assert served >= len(users) - len(leaving)
        assert budget.taken == 0

    asyncio.run(use())


def test_who_is_canceled_just_after_its_turn_came_frees_it() -> None:
    async def use() -> None:
        budget = ByteBudget(TOTAL)
        await budget.take(TOTAL)
        second, third = (asyncio.create_task(budget.take(TOTAL)) for _ in range(2))
        await asyncio.sleep(0)
        budget.free(TOTAL)
        second.cancel()
        await asyncio.wait_for(third, 5)
        assert second.cancelled()
        assert budget.taken == TOTAL

    asyncio.run(use())


def test_more_than_the_whole_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="11"):
        asyncio.run(ByteBudget(TOTAL).take(TOTAL + 1))
