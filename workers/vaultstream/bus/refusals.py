"""Refused permissions on NATS: the server reports them asynchronously, and the refused request is never answered."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, TypeVar

from vaultstream.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Coroutine

_T = TypeVar("_T")

_VIOLATION = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]*)\"", re.IGNORECASE)

_OF_A_TENANT = re.compile(r"(tenants\.[^.]+\.)(js\.api\..*)")


def explain_refusal(user: str, error: Exception) -> BusError | None:
    """Returns the error to show for a missing permission; None if the error is about something else."""
    found = _VIOLATION.search(str(error))
    if found is None:
        return None
    doing = "publish" if found[1].lower() == "publish" else "subscribe"
    return BusError(
        f"The NATS user {user!r} may not {doing} to {_as_written(found[2])}.",
        hint="Give each part of VaultStream the user of its role; docs/security.md lists the permissions of each.",
    )


def _as_written(subject: str) -> str:
    """Returns a subject as it is written in permissions; the client turns it into lowercase."""
    tenant, api = "", subject
    if found := _OF_A_TENANT.match(subject):
        tenant, api = found[1], found[2]
    head, stream, rest = api.partition("vaultstream_")
    if not tenant and not head.startswith("$"):
        return subject.replace("_inbox", "_INBOX", 1)
    name, dot, token = (stream + rest).partition(".")
    return tenant + f"{head}{name}".upper() + dot + token


class Refusals:
    """Raises a refusal where it matters: in the call that waits for an answer, or at the next check."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[BusError]] = set()
        self._unheard: BusError | None = None

    def note(self, refusal: BusError) -> None:
        """Records a refusal. All waiting calls get it, because the server does not say which one it refused."""
        waiting = [future for future in self._waiting if not future.done()]
        if not waiting:
            self._unheard = refusal
        for future in waiting:
            future.set_result(refusal)

    def check(self) -> None:
        """Raises a refusal that no call was waiting for, once.

        Raises:
            BusError: something was refused.
        """
        if self._unheard is not None:
            refusal, self._unheard = self._unheard, None
            raise refusal

    async def answer(self, call: Coroutine[object, object, _T]) -> _T:
        """Returns NATS's answer to a call.

        Raises:
            BusError: the user lacks the permission.
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
