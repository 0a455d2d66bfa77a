"""Reading again and again, for `--watch`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from vaultstream.store.database import explain, is_passing
from vaultstream_cli.output import note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_Found = TypeVar("_Found")

WATCH_SECONDS = 1.0


async def read_again(read: Callable[[], Awaitable[_Found]]) -> _Found:
    """Waits `WATCH_SECONDS`, and reads; while a service does not answer, says so and tries again.

    Raises:
        VaultStreamError: as `read`; and any other error that a later attempt would meet too.
    """
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            return await read()
        except Exception as error:
            if not is_passing(error):
                raise
            note(explain(error).message)
