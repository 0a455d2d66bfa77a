"""Writes the files of a bundle into a folder that gets its name only when it is complete."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING

from vaultstream.bundle.layout import AboutBundle, BundledRecord, BundleFile
from vaultstream.errors import UsageError, explain_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

README, CHECKERS = "README.md", ("verify.py", "formats.py", "verify.mjs", "formats.mjs")


class BundleWriter:
    """Writes into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.records = 0
        self.payloads = 0

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file."""
        with (self._folder / name).open("xb") as file:
            file.write(data)

    def append(self, name: str, lines: Iterable[bytes]) -> None:
        """Adds lines to a file; without any, it is created."""
        with (self._folder / name).open("ab") as file:
            file.writelines(b"%b\n" % line for line in lines)

    def add_records(self, records: Iterable[BundledRecord]) -> None:
        """Adds records, which must ascend by id."""
        lines = []
        for record in records:
            self.records += 1
            self.payloads += record.payload is not None
            lines.append(record.line.encode())
        self.append(BundleFile.RECORDS, lines)

    def finish(self, about: AboutBundle, jwks: str) -> None:
        """Writes the files for which all else must be known, and those for the reader."""
        self.write(BundleFile.ABOUT, about.data)
        self.write(BundleFile.KEYS, jwks.encode())
        own = resources.files("vaultstream.bundle") / "checkers"
        for name in (README, *CHECKERS):
            text = (own / name).read_text("utf-8")
            self.write(name, (_filled(text, about) if name == README else text).encode())


@contextmanager
def open_bundle(folder: Path) -> Iterator[BundleWriter]:
    """Yields a writer for a new folder, which appears when the bundle is complete.

    Raises:
        UsageError: the folder exists already, or can't be created.
        OutputError: its disk is full or failing.
    """
    if os.path.lexists(folder):
        raise UsageError(f"{folder} exists already.", hint="Give the name of a folder that does not exist.")
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir()
    except OSError as error:
        raise UsageError(f"{folder} can't be created: {error.strerror}.") from None
    try:
        yield BundleWriter(part)
        for file in part.iterdir():
            _sync(file)
        part.rename(folder)
        _sync(folder.absolute().parent)
    except OSError as error:
        if (explained := explain_output(error, folder)) is None:
            raise
        raise explained from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _filled(text: str, about: AboutBundle) -> str:
    for name in ("job", "token", "algorithm"):
        text = text.replace(f"{{{name}}}", getattr(about, name))
    return text
