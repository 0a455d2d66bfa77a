"""The pool of a signer, whose connections stay at hand between two uses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.freezing import freeze, thaw
from support.waiting import eventually
from vaultstream.store.database import open_pool
from vaultstream.store.kept_pool import KEPT_TIMES
from vaultstream.store.serving import NoWritesError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.pool import PoolConnectionProxy

    from vaultstream.local.services import Services
    from vaultstream.store.database import Pool

pytestmark = pytest.mark.integration


@pytest.fixture
async def pool(services: Services) -> AsyncIterator[Pool]:
    async with open_pool(services.database_url, role="test", size=1, kept=True) as pool:
        yield pool


@pytest.fixture
async def three(services: Services) -> AsyncIterator[Pool]:
    async with open_pool(services.database_url, role="test", size=3, kept=True) as pool:
        yield pool


async def pid(pool: Pool) -> int:
    async with pool.acquire(timeout=5) as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def all_pids(pool: Pool) -> set[int]:
    """Uses all connections of a pool of three at once. After that, all are at hand."""
    async with (
        pool.acquire(timeout=5) as one,
        pool.acquire(timeout=5) as two,
        pool.acquire(timeout=5) as last,
    ):
        return {connection.get_server_pid() for connection in (one, two, last)}


async def lent(pool: Pool) -> PoolConnectionProxy:
    """Returns what was lent. The driver lends another object each time, also for the same connection."""
    async with pool.acquire(timeout=5) as connection:
        return connection


async def test_a_connection_is_kept_between_two_uses_if_the_pool_keeps_them(
    pool: Pool, services: Services
) -> None:
    assert await lent(pool) is await lent(pool)
    async with open_pool(services.database_url, role="test", size=1, reset=False) as other:
        assert await lent(other) is not await lent(other)


async def test_a_kept_connection_is_returned_to_the_driver_from_time_to_time(pool: Pool) -> None:
    first = await lent(pool)
    again = [await lent(pool) for _ in range(KEPT_TIMES)]
    assert again[KEPT_TIMES - 2] is first
    assert again[KEPT_TIMES - 1] is not first


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


async def test_all_connections_at_hand_are_replaced(three: Pool) -> None:
    before = await all_pids(three)
    await three.expire_connections()
    assert not before & await all_pids(three)


async def test_servers_that_are_gone_delay_no_replacement(three: Pool) -> None:
    before = await all_pids(three)
    frozen: set[int] = set()

    async def use() -> None:
        async with three.acquire() as connection:
            for each in before - {connection.get_server_pid()}:
                frozen.add(each)
                await freeze(each)
            raise NoWritesError("Postgres takes no writes.")

    try:
        with pytest.raises(NoWritesError):
            await asyncio.wait_for(use(), timeout=5)
        assert not before & await all_pids(three)
    finally:
        for each in frozen:
            thaw(each)


async def test_no_connection_is_lost_if_its_user_is_canceled_while_all_are_replaced(three: Pool) -> None:
    async def use() -> None:
        async with three.acquire():
            if user := asyncio.current_task():
                user.cancel()
            raise NoWritesError("Postgres takes no writes.")

    before = await all_pids(three)
    await asyncio.gather(asyncio.create_task(use()), return_exceptions=True)
    assert not before & await all_pids(three)
