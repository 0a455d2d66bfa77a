"""The pool of a signer, whose connections stay at hand between two uses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.waiting import eventually
from vaultstream.store.database import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.local.services import Services
    from vaultstream.store.database import Pool

pytestmark = pytest.mark.integration


@pytest.fixture
async def pool(services: Services) -> AsyncIterator[Pool]:
    async with open_pool(services.database_url, role="test", size=1, reset=False) as pool:
        yield pool


async def pid(pool: Pool) -> int:
    async with pool.acquire(timeout=5) as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def test_one_connection_serves_all_who_wait_for_it(pool: Pool) -> None:
    first = await pid(pool)
    assert {await each for each in [asyncio.create_task(pid(pool)) for _ in range(20)]} == {first}


async def test_who_waits_too_long_for_a_connection_is_told_so(pool: Pool) -> None:
    async with pool.acquire():
        with pytest.raises(TimeoutError):
            async with pool.acquire(timeout=0.01):
                pass
    assert await pid(pool)


async def test_a_connection_that_broke_while_it_was_at_hand_is_replaced(
    pool: Pool, services: Services
) -> None:
    broken = await pid(pool)
    async with open_pool(services.database_url, role="test", size=1) as other, other.acquire() as connection:
        await connection.execute("SELECT pg_terminate_backend($1, 5000)", broken)

    async def replaced() -> bool:
        try:
            return await pid(pool) != broken
        except (asyncpg.PostgresError, asyncpg.InterfaceError):  # the driver did not know it yet
            return False

    await eventually(replaced)


async def test_a_transaction_that_was_left_open_is_not_passed_on(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("BEGIN")
    async with pool.acquire() as connection:
        assert not connection.is_in_transaction()


async def test_a_query_that_is_canceled_leaves_a_connection_that_works(pool: Pool) -> None:
    async def sleep() -> None:
        async with pool.acquire() as connection:
            await connection.execute("SELECT pg_sleep(60)")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sleep()
    assert await pid(pool)


async def test_connections_that_are_to_be_replaced_are_not_kept(pool: Pool) -> None:
    before = await pid(pool)
    await pool.expire_connections()
    at_hand = await pid(pool)
    assert at_hand != before
    async with pool.acquire():
        await pool.expire_connections()
    assert await pid(pool) != at_hand
