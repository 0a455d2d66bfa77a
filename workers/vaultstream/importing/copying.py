"""Packs rows in the binary format of Postgres's COPY, and copies them."""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from vaultstream.store.database import Connection

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Start of a COPY: the signature, no flags, no extension."""
TRAILER = b"\xff\xff"
"""End of a COPY."""

_TWO_FIELDS = Struct(">hiqi").pack  # number of fields; length and value of a bigint; length of what follows
_THREE_FIELDS = Struct(">hiqiqi").pack  # the same with two bigints
_LENGTH = Struct(">i").pack


def pack_numbered(rows: Iterable[tuple[int, bytes]]) -> bytes:
    """Returns rows of (bigint, text or bytea) in COPY's format."""
    return b"".join([_TWO_FIELDS(2, 8, number, len(payload)) + payload for number, payload in rows])


def pack_staged(rows: Iterable[tuple[int, int, bytes, bytes]]) -> bytes:
    """Returns rows of (bigint, bigint, text, text or bytea) in COPY's format."""
    return b"".join(
        [
            _THREE_FIELDS(4, 8, number, 8, line, len(text)) + text + _LENGTH(len(payload)) + payload
            for number, line, text, payload in rows
        ]
    )


async def copy_binary(
    connection: Connection,
    source: AsyncIterator[bytes],
    *,
    schema: str,
    table: str,
    columns: Sequence[str] | None = None,
    freeze: bool = False,
) -> int:
    """Copies what `source` yields (header, packed rows, trailer) into a table; returns the number of rows.

    Raises:
        asyncpg.ConnectionDoesNotExistError: the connection broke during the copy. The driver alone would wait
            forever if it was waiting to write at that moment.
    """
    copying = asyncio.ensure_future(
        connection.copy_to_table(
            table,
            schema_name=schema,
            columns=list(columns) if columns else None,
            source=source,
            format="binary",
            freeze=freeze or None,
        )
    )
    broken = False

    def give_up(_: object) -> None:
        nonlocal broken
        broken = True
        copying.cancel()

    connection.add_termination_listener(give_up)
    try:
        return affected_rows(await copying)
    except asyncio.CancelledError:
        if broken:
            raise asyncpg.ConnectionDoesNotExistError("the connection was closed during COPY") from None
        raise
    finally:
        connection.remove_termination_listener(give_up)


def affected_rows(status: str) -> int:
    """Returns the number of rows from a command's status, such as `COPY 7` or `INSERT 0 7`."""
    return int(status.rsplit(" ", 1)[1])
