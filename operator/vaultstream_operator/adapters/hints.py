"""Hints of workers that a job has new batches: reasons to reconcile it now, and nothing more. Anybody on the database may forge one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from vaultstream.errors import VaultStreamError
from vaultstream.store.database import connect
from vaultstream.store.hints import CHANNEL

if TYPE_CHECKING:
    from vaultstream.credentials import UrlSource

log = logging.getLogger(__name__)

APART_SECONDS = 1.0
"""Seconds between two reconciles of a job that hints cause."""
MOST_RECONCILES = 20
"""Reconciles a second that hints cause, of all jobs together: forged hints name any job, and jobs are many."""
MOST_HINTS = 1_000
"""Hints of one second after which none are listened to for `UNHEARD_SECONDS`: polling goes on as always."""
UNHEARD_SECONDS = 60.0
LISTEN_AGAIN_SECONDS = 5.0
_MOST_DIGITS = 9
"""A number of a job fits into 32 bits."""


class HintPace:
    """How soon a hinted reconcile may come: at once, but not more often than every `APART_SECONDS` for each job, and
    `MOST_RECONCILES` times in any second for all of them. A hint beyond that has no effect: polling goes on as always.
    """

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        """When the latest reconcile of a job that a hint caused began, or is to begin."""
        self._latest: deque[float] = deque(maxlen=MOST_RECONCILES)
        """When the latest of all hints with an effect came."""

    def delay(self, job_no: int, now: float) -> float | None:
        """Returns the seconds until the reconcile for a hint at `now`, on the caller's clock; None: it causes none."""
        latest = self._at.get(job_no, now - APART_SECONDS)
        if latest > now:  # it is to come, and will see what this hint is about
            return latest - now
        if len(self._latest) == MOST_RECONCILES and now - self._latest[0] < 1.0:
            return None
        self._latest.append(now)
        if len(self._at) >= MOST_HINTS:
            self._at = {no: at for no, at in self._at.items() if at + APART_SECONDS > now}
        self._at[job_no] = due = max(now, latest + APART_SECONDS)
        return due - now


class Hints:
    """Listens for hints on a connection of its own.

    Args:
        url: the connection string, or what returns it at each connect.
        heard: called with the number of a job, and the seconds until it is to be reconciled.
    """

    def __init__(self, url: UrlSource, heard: Callable[[int, float], None]) -> None:
        self._url = url
        self._heard = heard
        self._pace = HintPace()
        self._begun, self._count = 0.0, 0
        self._over = asyncio.Event()

    async def listen(self) -> None:
        """Listens until it is canceled; connects again whenever the connection ends."""
        while True:
            self._over.clear()
            try:
                async with connect(self._url, role="operator") as connection:
                    connection.add_termination_listener(lambda _: self._over.set())
                    await connection.add_listener(CHANNEL, self._notified)
                    await self._over.wait()
            except (VaultStreamError, OSError) as error:
                log.debug("not listening for hints: %s", type(error).__name__)
            except Exception as error:  # noqa: BLE001 - hints are dispensable
                log.warning("not listening for hints: %s", type(error).__name__)
            await asyncio.sleep(UNHEARD_SECONDS if self._count > MOST_HINTS else LISTEN_AGAIN_SECONDS)

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        now = time.monotonic()
        if now - self._begun >= 1.0:
            self._begun, self._count = now, 0
        self._count += 1
        if self._count > MOST_HINTS:
            if not self._over.is_set():
                log.warning("a flood of hints: not listening for %.0f s", UNHEARD_SECONDS)
            self._over.set()
        elif (job_no := _job_no(payload)) is not None and (
            delay := self._pace.delay(job_no, now)
        ) is not None:
            self._heard(job_no, delay)


def _job_no(payload: object) -> int | None:
    """Returns the number of a job that a hint names; None: anybody may send one."""
    if (
        isinstance(payload, str)
        and payload.isascii()
        and payload.isdecimal()
        and len(payload) <= _MOST_DIGITS
    ):
        return int(payload)
    return None
