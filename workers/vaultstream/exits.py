"""Which error a process ends with, whatever was raised; the error has the exit code."""

from __future__ import annotations

import sys

import asyncpg

from vaultstream.errors import DOCTOR, ServiceError, VaultStreamError, explain_output, shown
from vaultstream.store.database import explain
from vaultstream.store.privileges import AUDITOR


def explained(error: BaseException, *, part: str = AUDITOR) -> VaultStreamError | None:
    """Returns the error to show for one that ended a process; None for a fault of the program itself.

    Args:
        error: what was raised.
        part: whose role the process needs in Postgres, see `vaultstream.store.database.explain`.
    """
    match error:
        case VaultStreamError():
            return error
        case asyncpg.PostgresError() | asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return explain(error, part=part)
        case _ if _is_of_nats(error):
            return ServiceError(
                f"NATS does not answer: {shown(error)}.", hint=f"Check VAULTSTREAM_NATS_URL; {DOCTOR}"
            )
        case OSError():
            return explain_output(error, error.filename or "Standard output")
        case _:
            return None


def _is_of_nats(error: BaseException) -> bool:
    """Returns whether the client of NATS raised an error. A command that does not use the client need not load it here."""
    client = sys.modules.get("nats.errors")
    return client is not None and isinstance(error, client.Error)
