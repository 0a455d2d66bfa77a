"""Why a run makes no progress: what the services answer to a new connection, as its workers would open one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vaultstream.bus.connection import BUS_ERRORS, connect_bus
from vaultstream.bus.dispatch import require_streams
from vaultstream.errors import VaultStreamError
from vaultstream.store.blockers import blocked_sentence, list_blockers
from vaultstream.store.database import connect
from vaultstream.store.serving import require_writes

if TYPE_CHECKING:
    from vaultstream.local.services import Services

STALL_SECONDS = 5.0
"""How long nothing may be signed before the services are asked, and how long each answer is shown before they are asked again."""


class StallWatch:
    """Notices that a run makes no progress, and asks the services why."""

    def __init__(self) -> None:
        self._seen: object = None
        self._asked_at = time.monotonic()
        self._obstacle: str | None = None

    def is_due(self, state: object, now: float) -> bool:
        """Returns whether nothing has changed for STALL_SECONDS, and the services were not asked for as long.

        Args:
            state: what changes as long as there is progress.
            now: time.monotonic().
        """
        if state != self._seen:
            self._seen, self._asked_at, self._obstacle = state, now, None
            return False
        if now - self._asked_at < STALL_SECONDS:
            return False
        self._asked_at = now
        return True

    async def obstacle(self, services: Services, state: object) -> str | None:
        """Returns why there is no progress, in a sentence; None: there is, or no service is to blame.

        Args:
            services: of the run.
            state: see `is_due`.
        """
        if self.is_due(state, time.monotonic()):
            self._obstacle = await find_obstacle(services)
        return self._obstacle


async def find_obstacle(services: Services) -> str | None:
    """Returns what of the services stops all workers, in a sentence; None: they can work, or do not answer at all."""
    try:
        async with connect(services.database_url) as connection:
            require_writes(connection)
            if blocked := blocked_sentence(await list_blockers(connection)):
                return blocked
        async with connect_bus(services.bus_address, role="command", attempts=1) as bus:
            await require_streams(bus, patience=0.0)
    except VaultStreamError as error:
        return error.message
    except BUS_ERRORS:
        return None
    return None
