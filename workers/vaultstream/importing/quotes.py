"""Decides whether the lines that a quoted CSV value spans are a value, or records that a stray quote swallowed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vaultstream.importing.ids import is_bigint, is_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TELLING_WIDTH = 3


def swallows_records(lines: Sequence[str], width: int, id_place: int | None) -> bool:
    """Whether the lines of one CSV record look like records of their own.

    A line looks like one if it has as many values as the header once its quotes are taken for ordinary characters, and if
    its id is of the kind that the first line's id is of. The lines in between decide by majority. Where there are none,
    both lines must look like records, and say more than a single comma does.

    Args:
        lines: the lines of the file that the record spans.
        width: number of values that the header has.
        id_place: index of the id; None: rows are numbered.
    """
    if len(lines) < 2 or width < 2:  # noqa: PLR2004 - with one column, every line without a comma is as wide as the header
        return False
    first = _split(lines[0])
    is_id = _same_kind(first[id_place]) if id_place is not None and id_place < len(first) else None

    def looks_whole(line: str) -> bool:
        values = _split(line)
        return len(values) == width and (id_place is None or is_id is None or is_id(values[id_place]))

    between = lines[1:-1]
    if between:
        return 2 * sum(map(looks_whole, between)) >= len(between)
    if len(first) != width or not looks_whole(lines[1]):
        return False
    if width >= _TELLING_WIDTH or is_id in (is_bigint, is_uuid):
        return True
    return id_place is not None and _of_one_form(first[id_place], _split(lines[1])[id_place])


def _of_one_form(one: str, other: str) -> bool:
    """Whether two texts have letters, digits and signs in the same order, as `A-17` and `B-4` do, and digits among them."""
    forms = {re.sub("[^\\W\\d_]+", "a", re.sub("[0-9]+", "0", text.strip('"'))) for text in (one, other)}
    return len(forms) == 1 and "0" in forms.pop()


def _split(line: str) -> list[str]:
    return line.rstrip("\r\n").split(",")


def _same_kind(own_id: str) -> Callable[[str], bool]:
    own_id = own_id.strip('"')
    if is_bigint(own_id):
        return is_bigint
    return is_uuid if is_uuid(own_id) else bool
