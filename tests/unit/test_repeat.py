"""The loop that the three workers share."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import asyncpg
import nats.errors
import pytest
from nats.js.errors import ServiceUnavailableError

from vaultstream import worker
from vaultstream.errors import BusError
from vaultstream.telemetry.server import Telemetry
from vaultstream.worker import WorkerContext, repeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.unit


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> WorkerContext:
    monkeypatch.setattr(worker, "STEP_RETRY_SECONDS", 0.01)
    return cast("WorkerContext", SimpleNamespace(stop=asyncio.Event(), telemetry=Telemetry("keys")))


def steps(*outcomes: bool | Exception) -> Callable[[], Awaitable[bool]]:
    left = list(outcomes)

    async def step() -> bool:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return step


@pytest.mark.parametrize(
    "error",
    [
        nats.errors.ConnectionClosedError(),
        TimeoutError(),
        ConnectionRefusedError(),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.ConnectionDoesNotExistError("closed"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_step_that_no_service_answers_is_repeated_until_all_is_done(
    context: WorkerContext, error: Exception
) -> None:
    step = steps(False, error, error, True, AssertionError("it was done"))
    await asyncio.wait_for(repeat(context, step, name="planning"), 5)
    assert "planning loop" not in [check.name for check in context.telemetry.health.live().checks]


async def test_any_other_error_ends_the_worker(context: WorkerContext) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await repeat(context, steps(asyncpg.UndefinedTableError("gone")), name="planning")
    assert "planning loop" in [check.name for check in context.telemetry.health.live().checks]


async def test_a_worker_that_is_told_to_stop_does_not_wait(context: WorkerContext) -> None:
    async def step() -> bool:
        context.stop.set()
        return False

    await asyncio.wait_for(repeat(context, step, name="planning", every=600.0), 5)
    await repeat(context, steps(), name="planning")


async def test_a_nats_that_answers_without_jetstream_is_not_waited_for_without_end(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "JETSTREAM_PATIENCE_SECONDS", 0.05)

    async def step() -> bool:
        raise ServiceUnavailableError

    with pytest.raises(BusError, match="without JetStream"):
        await asyncio.wait_for(repeat(context, step, name="publishing"), 5)
