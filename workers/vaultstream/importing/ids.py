"""Ids as they are in a file: which ones are refused, and which type fits them all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

IdType = Literal["bigint", "uuid", "text"]

SQL_TYPES: dict[IdType, str] = {"bigint": "bigint", "uuid": "uuid", "text": 'text COLLATE "C"'}
"""How a column of each type is declared; text is ordered by its bytes, whatever the database's locale is."""

MAX_ID_BYTES = 1024
"""Length of the longest id in UTF-8 bytes: a longer one does not fit into an index."""

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SAFE_DIGITS = 18


def is_bigint(text: str) -> bool:
    """Whether `text` is a 64-bit integer in canonical form: no plus sign, no leading zero, no space."""
    return _INTEGER.fullmatch(text) is not None and (
        len(text) <= _SAFE_DIGITS or -(2**63) <= int(text) < 2**63
    )


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID of 36 characters, in upper or lower case."""
    return _UUID.fullmatch(text) is not None


def is_number_or_uuid(text: str) -> bool:
    """Whether ids like `text` are no text."""
    return is_bigint(text) or is_uuid(text)


def fault_of(text: str | None, wanted: IdType | None = None) -> str | None:
    """Returns why an id is refused, or None if it is valid.

    Args:
        text: the id.
        wanted: the type that it must have because the table already exists.
    """
    if not text:
        return "has no id"
    if "\0" in text:
        return "has an id with a NUL character, which Postgres does not store"
    if len(text) * 4 > MAX_ID_BYTES and len(text.encode(errors="surrogatepass")) > MAX_ID_BYTES:
        return f"has an id of more than {MAX_ID_BYTES:,} bytes"
    if wanted == "bigint" and not is_bigint(text):
        return f"has the id {text!r}, but the table's ids are integers"
    if wanted == "uuid" and not is_uuid(text):
        return f"has the id {text!r}, but the table's ids are UUIDs"
    return None


class TypeOfIds:
    """Finds the narrowest type that fits every id seen so far."""

    def __init__(self) -> None:
        self._integers = True
        self._uuids = True

    def see(self, ids: Iterable[str]) -> None:
        ids = list(ids)
        self._integers = self._integers and all(map(is_bigint, ids))
        self._uuids = self._uuids and all(map(is_uuid, ids))

    @property
    def narrowest(self) -> IdType:
        if self._integers:
            return "bigint"
        return "uuid" if self._uuids else "text"
