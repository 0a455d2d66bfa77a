"""Answers of JetStream that waiting does not change, and what to do about each."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from nats.js.errors import APIError, NotFoundError

from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.errors import BusError, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.bus.connection import Bus

NO_JETSTREAM = "NATS answers, but without JetStream for this account."
JETSTREAM_HINT = "Start nats-server with -js, and enable JetStream for the account."

_OFF = {10035, 10039, 10076}
"""JetStream's codes for: no account, not enabled for the account, not enabled."""
_OVERLAP = 10065
NOT_UNIQUE = (10099, 10100)
"""What a work queue answers when another consumer has the messages of one that is to be made."""
_FULL = {10002, 10026, 10027, 10028, 10047, 10120}
"""Codes of the limits of an account or a server: limits of resources, consumers, streams, memory, storage, none for this kind of storage."""
_PASSING = {408, 429}
_ELECTING = {10005, 10023}
"""What a cluster answers while one of its servers is down: no peers to place a consumer on, insufficient resources."""


def explain_answer(error: APIError, stream: str, *, others: Sequence[str] = ()) -> BusError | None:
    """Returns the error to show for an answer of JetStream that waiting does not change; None: a later attempt can succeed.

    Args:
        error: the answer to a request about `stream`.
        stream: the name of a stream of ours.
        others: what else has subjects of this stream, as `find_overlap` says.
    """
    if not all(number is None or isinstance(number, int) for number in (error.code, error.err_code)):
        return None  # no answer of JetStream
    why = shortened(str(error.description or ""))
    if error.err_code in _OFF:
        return BusError(NO_JETSTREAM, hint=JETSTREAM_HINT)
    if error.err_code == _OVERLAP:
        return overlap_error(stream, others)
    if error.err_code in _FULL:
        return BusError(
            f"JetStream has no room for the stream {stream}: {why}.",
            hint="Raise the limits of the account or of the server (max_file_store, max_streams, max_consumers).",
        )
    passes = error.code in _PASSING or error.err_code in _ELECTING or isinstance(error, NotFoundError)
    if error.code is not None and 400 <= error.code < 500 and not passes:  # noqa: PLR2004 - as in HTTP: the request is at fault
        return BusError(
            f"JetStream refuses the stream {stream}: {why}.",
            hint="`nats stream info` shows its configuration. Give VaultStream a NATS account of its own if another program "
            "uses the same names.",
        )
    return None


def rival_error(stream: str, error: APIError) -> BusError:
    """Returns the error for a consumer that can't be made because another one has its messages."""
    return BusError(
        f"Another consumer of the stream {stream} has the batches of the job: {shortened(error.description or '')}.",
        hint="`vaultstream doctor` names it: an administrator of NATS removes it (`nats consumer rm`). If the user of the records worker "
        "may list consumers (docs/security.md), the worker does so itself.",
    )


def overlap_error(stream: str, others: Sequence[str]) -> BusError:
    """Returns the error for a stream that can't be created because other streams have some of its subjects."""
    which = (
        f"the stream {' and '.join(others)} of another application has"
        if others
        else "another stream of this account has"
    )
    return BusError(
        f"The stream {stream} can't be created: {which} some of its subjects (they overlap).",
        hint="Give VaultStream a NATS account of its own, or change the subjects of the other stream.",
    )


def foreign_error(stream: str, subjects: Sequence[str], wanted: Sequence[str]) -> BusError | None:
    """Returns the error for a stream that has the name of ours and not our subjects; None: it has them."""
    if set(wanted) <= set(subjects):
        return None
    return BusError(
        f"There is a stream {stream} with other subjects: {shortened(', '.join(subjects)) or 'none'} instead of {', '.join(wanted)}.",
        hint="Give VaultStream a NATS account of its own if another program made it; else remove it: workers create it again from Postgres.",
    )


async def find_overlap(bus: Bus, subjects: Sequence[str], *, except_for: str) -> list[str]:
    """Returns the streams of others that have some of our subjects; none if this user may not ask for them.

    Args:
        bus: the connection.
        subjects: of a stream of ours.
        except_for: the name of that stream.
    """
    found: list[str] = []
    for subject in subjects:
        with suppress(BusError, *BUS_ERRORS, ValueError, AttributeError):
            asked = bus.client.request(
                "$JS.API.STREAM.NAMES", json.dumps({"subject": subject}).encode(), timeout=2.0
            )
            named = json.loads((await bus.answer(asked)).data).get("streams") or []
            found += [str(name) for name in named if name not in (except_for, *found)]
    return found
