"""What a reader returns: chunks of rows, ready to be copied, and of rejected lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from vaultstream.importing.rejects import Reject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaultstream.importing.ids import IdType
    from vaultstream.importing.options import Shape

PayloadType = Literal["text", "bytea"]

CHUNK_BYTES = 1 << 20
"""Bytes of payloads and characters of rejected lines after which a chunk is full."""
CHUNK_ROWS = 8192
"""Rows, accepted or rejected, after which a chunk is full in any case."""


class RejectedError(Exception):
    """A line can't be loaded; the text ends the sentence "The line …"."""


class Row(NamedTuple):
    """A record."""

    line: int
    number: int
    """Its place among the rows of the file, from 1. Rejected rows count too: fixing one does not renumber the others."""
    id: str
    """As it is in the file; empty if rows are numbered."""
    payload: bytes


@dataclass
class Chunk:
    """The next part of a file."""

    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    payload_bytes: int = 0
    rejected_characters: int = 0

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.payload_bytes += len(row.payload)

    def reject(self, line: int, reason: str, text: str) -> None:
        self.add_reject(Reject(line, reason, text))

    def add_reject(self, reject: Reject) -> None:
        self.rejects.append(reject)
        self.rejected_characters += len(reject.text) + len(reject.reason)

    @property
    def full(self) -> bool:
        size = self.payload_bytes + self.rejected_characters
        return size >= CHUNK_BYTES or len(self.rows) + len(self.rejects) >= CHUNK_ROWS


class Reader(Protocol):
    """Reads rows from a file of one format."""

    @property
    def columns(self) -> Sequence[str]:
        """Their names, in the file's order."""

    @property
    def form(self) -> str:
        """What the file is: CSV, JSON lines, JSON array or Parquet."""

    @property
    def open_ended(self) -> bool:
        """Whether rows may have columns beyond these."""

    def payload_type(self, shape: Shape) -> PayloadType:
        """The type of the payload's column in the table."""

    def chunks(self, shape: Shape, wanted: IdType | None) -> Iterator[Chunk]:
        """Reads the file to its end; can be called once.

        Args:
            shape: which columns are the id and the payload.
            wanted: the type that ids must have, if the table already exists.

        Raises:
            ImportFileError: the file is damaged, or none of its lines can be trusted.
        """

    @property
    def position(self) -> int:
        """Bytes of the file read so far."""


def fault_of_text(payload: str) -> str | None:
    """Returns why a text can't be a payload, or None if it can."""
    if "\0" in payload:
        return "has a payload with a NUL character, which Postgres does not store in text"
    return None
