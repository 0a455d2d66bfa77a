"""Faults of workers: killed or stopped, at once or at a named point. Each function returns whether it happened."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from support.chaos.arena import LEASE_SECONDS
from support.waiting import eventually

if TYPE_CHECKING:
    import random

    from support.chaos.arena import Arena

PAST_A_LEASE = 1.3 * LEASE_SECONDS


def signal_worker(arena: Arena, role: str, number: signal.Signals, chance: random.Random) -> int | None:
    """Sends a signal to a random worker of a role; returns its process id."""
    there = arena.workers(role)
    if not there:
        return None
    pid = chance.choice(there)
    return pid if arena.send(pid, number) else None


async def freeze(arena: Arena, pid: int, *, seconds: float) -> None:
    """Stops a worker for a while, then resumes it."""
    try:
        await asyncio.sleep(seconds)  # time is the fault here: nothing else makes a lease expire
    finally:
        arena.send(pid, signal.SIGCONT)


async def at_point(arena: Arena, point: str, action: str, *, patience: float = 20.0) -> int | None:
    """Makes the next worker that reaches a point stop, kill or terminate itself there; returns its process id.

    A stopped worker stays stopped until it gets SIGCONT.
    """
    arena.points.clear(point)
    arena.points.arm(point, action)
    try:
        return int(await eventually(lambda: arena.points.taken(point), seconds=patience, what=point))
    except AssertionError:
        return arena.points.taken(point)
    finally:
        arena.points.clear(point)
