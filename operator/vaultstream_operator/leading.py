"""The term of an operator that leads: it begins once no other leads, and ends with the Lease."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from vaultstream.telemetry.health import Health
from vaultstream_operator.adapters.election import Election
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.runtime import API_SERVER, RESYNC_SECONDS

log = logging.getLogger(__name__)

_ELECTION = "election"


@dataclass
class Term:
    """While this operator leads.

    Attributes:
        over: set when the Lease is lost, or the operator exits for another reason.
        lost: whether the Lease is lost.
        stop_work: called then, at once: another operator may soon begin.
    """

    over: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False
    stop_work: Callable[[], Awaitable[None]] | None = None


def exit_asked() -> asyncio.Event:
    """Handles SIGTERM and SIGINT from now on; returns the event that they set. Kopf handles them itself, once it runs."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    return asked


@asynccontextmanager
async def leading(
    election: Election | None, health: Health, metrics: OperatorMetrics, asked: asyncio.Event
) -> AsyncIterator[Term | None]:
    """Yields once this operator leads, and then keeps its Lease; yields None if SIGTERM comes before that.

    An operator that stands by is live and ready.

    Args:
        election: None: there is no other operator.
        health: the health to update.
        metrics: the metrics to update.
        asked: set when the operator must exit.
    """
    term = Term()
    if election is None:
        metrics.leader.set(1)
        async with _ending_when(asked, term):
            yield term
        return
    if not await _elected(election, health, asked):
        yield None
        return
    metrics.leader.set(1)
    keeping = asyncio.create_task(_keep(election, term), name="lease")
    try:
        async with _ending_when(asked, term):
            yield term
    finally:
        if not (lost := term.lost):
            term.stop_work = None  # it has ended
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        if not lost:
            await election.release()


@asynccontextmanager
async def _ending_when(asked: asyncio.Event, term: Term) -> AsyncIterator[None]:
    """Ends the term on a signal that comes before kopf handles signals."""

    async def end() -> None:
        await asked.wait()
        term.over.set()

    ending = asyncio.create_task(end(), name="signals")
    try:
        yield
    finally:
        ending.cancel()


async def _elected(election: Election, health: Health, asked: asyncio.Event) -> bool:
    """Waits until this operator leads; returns False if it is asked to exit first."""
    health.expect(API_SERVER, within=3 * RESYNC_SECONDS)

    def beat(problem: str | None) -> None:
        health.beat(_ELECTION)
        if problem is None:
            health.seen(API_SERVER)
        else:
            health.missed(API_SERVER, problem)

    health.beat(_ELECTION)
    acquiring = asyncio.create_task(election.acquire(beat), name="election")
    leaving = asyncio.create_task(asked.wait(), name="signals")
    try:
        await asyncio.wait({acquiring, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            await election.release()  # it may have been elected in the same moment
            return False
        acquiring.result()
        return True
    finally:
        health.rest(_ELECTION)
        for task in (acquiring, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _keep(election: Election, term: Term) -> None:
    try:
        await election.keep()
    except Exception:
        log.exception("can't keep the Lease, and stop")
    finally:  # whatever happened: no Lease, no work
        term.lost = True
        term.over.set()
        if term.stop_work is not None:
            await term.stop_work()
