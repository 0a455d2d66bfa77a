"""What the logs of seals say of a job that a command does not find."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.audit.seals.lost_jobs import explain_unknown
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.errors import UnknownJobError
from vaultstream.settings import seal_key_file, seals_dir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.local.session import Session


@asynccontextmanager
async def explaining_unknown(session: Session, job: str) -> AsyncIterator[None]:
    """Replaces the error that there is no such job by what a log says of it: deleted, and when, or lost.

    A login that may not read logs, such as one with few rights, gets the error as it is.

    Args:
        session: of the command.
        job: the name or token that was given.
    """
    try:
        yield
    except UnknownJobError as error:
        settings, explained = session.settings, None
        trust = SealTrust.read((), (), key_file=seal_key_file(settings), seals_dir=seals_dir(settings))
        with suppress(asyncpg.InsufficientPrivilegeError):
            async with (
                session.pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                explained = await explain_unknown(connection, job, trust)
        raise explained or error from None
