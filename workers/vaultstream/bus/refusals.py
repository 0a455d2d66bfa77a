"""What NATS does not let its user do: the server tells of it by the way, and what was asked never gets an answer."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, TypeVar

from vaultstream.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Coroutine

_T = TypeVar("_T")

_VIOLATION = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]*)\"", re.IGNORECASE)


def explain_refusal(user: str, error: Exception) -> BusError | None:
    """Returns what a person should read of a missing permission; None: the error is about something else."""
    found = _VIOLATION.search(str(error))
    if found is None:
        return None
    doing = "publish" if found[1].lower() == "publish" else "subscribe"
    return BusError(
        f"NATS does not let the user {user!r} {doing} to {_as_written(found[2])}.",
        hint="Give each part of VaultStream the user of its role; docs/security.md lists what each may do.",
    )


def _as_written(subject: str) -> str:
    """Returns a subject of JetStream's as it stands in permissions; the client makes all letters small."""
    head, stream, rest = subject.partition("vaultstream_")
    if not head.startswith("$"):
        return subject.replace("_inbox", "_INBOX", 1)
    name, dot, token = (stream + rest).partition(".")
    return f"{head}{name}".upper() + dot + token


class Refusals:
    """Makes a refusal an error where it matters: in the call that waits for an answer, or at the next look."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[BusError]] = set()
        self._unheard: BusError | None = None

    def note(self, refusal: BusError) -> None:
        """Takes in a refusal. While calls wait it is theirs: which one it answers, the server does not say."""
        waiting = [future for future in self._waiting if not future.done()]
        if not waiting:
            self._unheard = refusal
        for future in waiting:
            future.set_result(refusal)

    def check(self) -> None:
        """Passes if nothing was refused that nobody waited for.

        Raises:
            BusError: something was; it is told once.
        """
        if self._unheard is not None:
            refusal, self._unheard = self._unheard, None
            raise refusal

    async def answer(self, call: Coroutine[object, object, _T]) -> _T:
        """Returns what NATS answers to a call.

        Raises:
            BusError: the user may not ask for it.
        """
        refused: asyncio.Future[BusError] = asyncio.get_running_loop().create_future()
        self._waiting.add(refused)
        asking = asyncio.ensure_future(call)
        try:
            either: list[asyncio.Future[Any]] = [asking, refused]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise refused.result()
            return await asking
        finally:
            self._waiting.discard(refused)
            while not asking.done():  # the client swallows a cancellation in some places
                asking.cancel()
                await asyncio.wait([asking], timeout=0.05)
            if not asking.cancelled():
                asking.exception()
