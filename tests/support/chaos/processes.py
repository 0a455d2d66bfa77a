"""Faults of workers: killed, stopped, or brought to a named point first. Each tells whether it came to be."""

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
    """Sends a signal to one worker of a role, by chance; returns its process id."""
    there = arena.workers(role)
    if not there:
        return None
    pid = chance.choice(there)
    return pid if arena.send(pid, number) else None


async def freeze(arena: Arena, pid: int, *, seconds: float) -> None:
    """Keeps a worker stopped for a while, and lets it go on."""
    try:
        await asyncio.sleep(seconds)  # time is the fault here: nothing else makes a lease expire
    finally:
        arena.send(pid, signal.SIGCONT)


async def at_point(arena: Arena, point: str, action: str, *, patience: float = 20.0) -> int | None:
    """Has the next worker that comes by a point stop, kill or term itself there; returns its process id.

    One that stops stays so until it is sent SIGCONT.
    """
    arena.points.clear(point)
    arena.points.arm(point, action)
    try:
        return int(await eventually(lambda: arena.points.taken(point), seconds=patience, what=point))
    except AssertionError:
        return arena.points.taken(point)
    finally:
        arena.points.clear(point)
