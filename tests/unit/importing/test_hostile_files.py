"""Files that somebody has made to fill the memory of an import, or to keep it busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.reading import read
from vaultstream.importing.json_elements import unique_members
from vaultstream.importing.rejects import Reject
from vaultstream.importing.rows import CHUNK_BYTES, Chunk, RejectedError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def test_rejected_lines_are_not_held_without_end() -> None:
    for reject in (Reject(1, "is long", "x" * CHUNK_BYTES), Reject(1, "x" * CHUNK_BYTES, "")):
        chunk = Chunk()
        assert not chunk.full
        chunk.add_reject(reject)
        assert chunk.full


def test_any_number_of_byte_order_marks_is_one_step(tmp_path: Path) -> None:
    """Each was removed by a copy of all the others: two million would be 6 TB."""
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" * 2_000_000 + b"id,p\n1,a\n")
    rows, rejects = read(tmp_path / "a.csv")
    assert ([row.id for row in rows], rejects) == (["1"], [])


def test_a_member_that_is_there_twice_among_many_is_found_at_once() -> None:
    """Each name was compared with all others: ten to the eleventh times."""
    names = [f"m{number}" for number in range(300_000)]
    with pytest.raises(RejectedError, match="member 'm299999' more than once"):
        unique_members([(name, 1) for name in [*names, names[-1]]])
