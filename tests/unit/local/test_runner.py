"""A run goes on while Postgres takes no decision to keep."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import pytest

from vaultstream.local.runner import _keep
from vaultstream.scaling.kept import KeptDecision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.store.database import Pool
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.unit


class OneJob:
    job_no = 7


class PoolThatFails:
    """A pool whose first connection fails as given; later ones store what they get."""

    def __init__(self, error: Exception) -> None:
        self._errors = [error]
        self.stored: list[object] = []

    @asynccontextmanager
    async def acquire(self, **_: Any) -> AsyncIterator[PoolThatFails]:
        if self._errors:
            raise self._errors.pop()
        yield self

    async def execute(self, _: str, *arguments: object) -> None:
        self.stored.append(arguments[1])


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
        asyncpg.InsufficientPrivilegeError("permission denied for table decisions"),
        asyncpg.AdminShutdownError("terminating connection"),
    ],
)
async def test_decisions_that_postgres_does_not_take_now_are_kept_later_and_stop_nothing(
    error: Exception,
) -> None:
    pool = PoolThatFails(error)
    unkept = deque([KeptDecision(1.0, {}), KeptDecision(2.0, {})])
    for left in (2, 0, 0):
        await _keep(cast("Pool", pool), cast("Job", OneJob()), unkept)
        assert len(unkept) == left
    assert pool.stored == [1.0, 2.0]
