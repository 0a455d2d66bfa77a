"""A stream's lines, numbered and decoded, with the raw text of the current record."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vaultstream.errors import ImportFileError
from vaultstream.importing.encoding import fault_of_bytes
from vaultstream.importing.source import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultstream.importing.source import ImportSource

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Length of the longest line and of the longest CSV value: a longer one is taken for a mistake."""

_BYTE_ORDER_MARKS = re.compile(b"(?:\xef\xbb\xbf)+")


def _unmarked(raw: bytes) -> bytes:
    """Returns a file's first line without its byte order mark, of which programs that append files leave several."""
    marks = _BYTE_ORDER_MARKS.match(raw)
    return raw[marks.end() :] if marks else raw


class Lines:
    """Iterates over the lines of a stream as text; once.

    A line that is not UTF-8 is decoded with replacement characters, and `undecodable` says what is wrong with it until
    `start_record` resets it.
    """

    def __init__(self, source: ImportSource) -> None:
        self._source = source
        self.number = 0
        """Number of the last line read, from 1."""
        self.record: list[str] = []
        """The lines read since `start_record`."""
        self.undecodable: str | None = None
        self.nul = False
        """Whether a line read since `start_record` has a NUL byte, which no text has."""

    def start_record(self) -> None:
        self.record.clear()
        self.undecodable = None
        self.nul = False

    def __iter__(self) -> Iterator[str]:
        readline = self._source.stream.readline
        try:
            while raw := readline(MAX_LINE_BYTES + 1):
                self.number += 1
                if self.number == 1:
                    raw = _unmarked(raw)
                if len(raw) > MAX_LINE_BYTES:
                    raise ImportFileError(
                        f"Line {self.number} of {self._source.name} is longer than 64 MiB.",
                        hint="Check that the file has the format that it is read as (--format).",
                    )
                if b"\0" in raw:
                    self.nul = True
                try:
                    line = raw.decode()
                except UnicodeDecodeError:
                    line = raw.decode(errors="replace")
                    self.undecodable = fault_of_bytes(raw)
                self.record.append(line)
                yield line
        except DAMAGED as error:
            raise ImportFileError(
                f"{self._source.subject} is damaged after line {self.number}: {str(error).rstrip('.')}.",
                hint="Download or create the file again.",
            ) from None
