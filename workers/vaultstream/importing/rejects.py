"""Rejected lines: how many are tolerated, and the file beside the input that lists them."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from vaultstream.errors import ImportFileError, UsageError
from vaultstream.output_file import is_special, liken, open_special, replaceable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import TextIO

EXCERPT = 200
"""Characters of a rejected line that the file shows, at most."""

_ALWAYS_BEARABLE = 100
_JUDGED_EARLY_FROM = 10_000


class Reject(NamedTuple):
    """A line that is not loaded."""

    line: int
    """Its number in the file, from 1; for Parquet, the number of the row."""
    reason: str
    """The end of the sentence "The line …"."""
    text: str
    """The line, or its beginning."""
    lines: int = 1
    """Number of lines that are rejected with it: more than 1 where a quote went wrong, and each may be a record."""


def too_many(rejected: int, rows: int, limit: int | None, *, at_end: bool) -> bool:
    """Whether so many lines were rejected that nothing may be loaded.

    With a `limit`, at most that many may be rejected. Without one, at most a tenth of the rows or 100 rows, whichever is
    more; this is checked at the end, or as soon as more than 10,000 were rejected. A file whose rows were all rejected is
    always refused.
    """
    if at_end and rejected and rejected >= rows:
        return True
    if limit is not None:
        return rejected > limit
    return (at_end or rejected > _JUDGED_EARLY_FROM) and rejected > max(_ALWAYS_BEARABLE, rows // 10)


class RejectFile:
    """JSON lines, `{"line": 7, "reason": "has no id", "text": "…"}`, written if a line is rejected.

    An entry of several lines has the first and the last one as `"lines": [7, 12]` too. A regular file is replaced when the import
    ends, and keeps its mode; a link, a device or a pipe stays what it is. Without a rejected line nothing is written.
    """

    def __init__(self, path: Path, *, named: bool = True) -> None:
        """Args: `named`, whether the user named this path; else a list of an earlier import there is removed if this one has none."""
        self.path = path
        self.count = 0
        self.first: Reject | None = None
        self._named = named
        self._file: TextIO | None = None
        self._part: Path | None = None
        self._real = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._file is not None:
                self._file.close()
            elif not self._named and kind is None:
                self._remove_former()
            if self._part is not None:
                self._part.replace(self._real)
        except OSError as error:
            if kind is None:
                raise self._refused(error) from None
        finally:
            if self._part is not None:
                self._part.unlink(missing_ok=True)

    def _remove_former(self) -> None:
        # What can't be removed, as in a folder that is only for reading, stays.
        with suppress(OSError):
            if stat.S_ISREG(self.path.lstat().st_mode) and os.access(self.path, os.W_OK, effective_ids=True):
                self.path.unlink()

    def add(self, rejects: Iterable[Reject]) -> None:
        """Writes rejected lines.

        Raises:
            ImportFileError: the file can't be written.
        """
        for reject in rejects:
            self.first = self.first or reject
            self.count += reject.lines
            text = reject.text[:EXCERPT].rstrip("\r\n")
            span = {"lines": [reject.line, reject.line + reject.lines - 1]} if reject.lines > 1 else {}
            entry = json.dumps(
                {"line": reject.line, **span, "reason": reject.reason, "text": text}, ensure_ascii=False
            )
            try:
                if self._file is None:
                    self._file = self._open()
                self._file.write(entry + "\n")
            except OSError as error:
                raise self._refused(error) from None

    def _open(self) -> TextIO:
        if is_special(self.path):
            descriptor = open_special(self.path)
        else:
            try:
                self._real, former = replaceable(self.path)
            except UsageError as error:
                raise ImportFileError(
                    f"Rejected lines can't be listed: {error.message}",
                    hint="Name another place for them with --rejects.",
                ) from None
            part = self._real.with_name(f".{secrets.token_hex(8)}.part")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(part, flags, 0o600 if former else 0o666)
            self._part = part
            if former:
                liken(descriptor, former)
        return open(descriptor, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123 - from a descriptor

    def _refused(self, error: OSError) -> ImportFileError:
        if error.errno == errno.ENXIO and self.path.is_fifo():
            return ImportFileError(
                f"The list of rejected lines can't be written to {self.path}: nobody reads this pipe.",
                hint="Start its reader before the import, or name a file with --rejects.",
            )
        return ImportFileError(
            f"The list of rejected lines can't be written to {self.path}: {error.strerror}.",
            hint="Name another place for it with --rejects.",
        )
