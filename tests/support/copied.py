"""Rows as Postgres sends them for COPY in binary form."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"


def int8(number: int) -> bytes:
    return number.to_bytes(8, signed=True)


def int4(number: int) -> bytes:
    return number.to_bytes(4, signed=True)


def copied_row(fields: Sequence[bytes | None]) -> bytes:
    """Returns one row; None is NULL."""
    parts = [b"\xff" * 4 if field is None else len(field).to_bytes(4) + field for field in fields]
    return len(fields).to_bytes(2) + b"".join(parts)


def copied_rows(rows: Iterable[Sequence[bytes | None]]) -> bytes:
    """Returns all that COPY sends."""
    return HEAD + b"".join(map(copied_row, rows)) + END
