"""Errors of reads of a source. A view, a policy or a computed column runs code of its owner, who chooses code and text of its errors.

So such an error is believed in nothing: it neither makes work wait for a service or a person, nor chooses a hint.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import SourceReadError, shown
from vaultstream.store.serving import is_open

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultstream.store.database import Connection


@contextmanager
def errors_of_source(connection: Connection, relation: str) -> Iterator[None]:
    """Raises each error of a read as a `SourceReadError`. Errors of this program, such as a value that can't be encoded, pass.

    Args:
        connection: by which the relation is read.
        relation: its name in SQL.
    """
    try:
        yield
    except TimeoutError:
        raise SourceReadError(
            f"spec.records.table: reading {relation} took too long and was canceled.",
            hint="Find what is slow in it, or what locks it.",
        ) from None
    except UnicodeDecodeError:  # code of the owner may set `client_encoding`
        raise SourceReadError(
            f"spec.records.table: reading {relation} returned text that is not UTF-8.",
            hint="The owner of the table or view must not change client_encoding in its code.",
        ) from None
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise SourceReadError(
            f"spec.records.table: reading {relation} runs code that writes: {shown(error)}.",
            hint="Name a table, or a view whose functions and policies only read.",
        ) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        lost = _is_lost(connection, error)
        if isinstance(error, asyncpg.InterfaceError) and not lost:
            raise
        raise SourceReadError(
            f"spec.records.table: reading {relation} failed: {shown(error)}.",
            hint="The error comes from reading it, so its owner's code may have raised it.",
            lost=lost,
        ) from None


def _is_lost(connection: Connection, error: Exception) -> bool:
    """Returns whether an error ended the connection. That of a statement has the severity ERROR, whatever code raised it."""
    if not is_open(connection) or not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return True
    return isinstance(error, asyncpg.PostgresError) and error.severity_en != "ERROR"
