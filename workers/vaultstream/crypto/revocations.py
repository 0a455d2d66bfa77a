"""The file of revocations: which keys were revoked, kept outside the database, so that restoring a backup revives none.

The file is append-only JSON Lines, one object per revoked key:

    {"key_id": "…", "public_key_sha256": "<hex>", "revoked_at": "2030-01-31T12:00:00Z", "reason": "…"}

A key is found by its id or by its public key. The file contains no secret, but whoever can shorten it can undo revocations:
give it the protection of the file of key-encryption keys, and keep a copy of it with that one. It is not restored together
with the database.

An incomplete last line is left by a process that was killed while writing it, before the key was revoked in Postgres. It is
ignored, and overwritten by the next revocation. Any other line that can't be read is an error: it may have been a revocation.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import from_json

from vaultstream.errors import CustodyError

_Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # reports give it in UTC
        raise ValueError("it is not in the years 1 to 9999 in UTC") from None


@dataclass(frozen=True)
class Revocation:
    """One revoked key."""

    __pydantic_config__ = ConfigDict(extra="ignore")

    key_id: str
    public_key_sha256: _Digest
    """SHA-256 of the SubjectPublicKeyInfo in DER, in hexadecimal."""
    revoked_at: Annotated[AwareDatetime, AfterValidator(_in_utc)]
    reason: str = ""

    @classmethod
    def of(cls, key_id: str, public_key: bytes, *, at: datetime, reason: str = "") -> Self:
        return cls(key_id, sha256(public_key).hexdigest(), at, reason)


@cache
def _lines() -> TypeAdapter[Revocation]:
    """Built when there is a line: most files of revocations are empty, or missing."""
    return TypeAdapter(Revocation)


_BEGINNING = b'{"key_id":'
"""Of each line that is written here."""


@dataclass(frozen=True)
class Revocations:
    """The revocations of a file."""

    entries: tuple[Revocation, ...] = ()
    _by_name: dict[str, Revocation] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names: dict[str, Revocation] = {}
        for entry in self.entries:
            names.setdefault(entry.key_id, entry)
            names.setdefault(entry.public_key_sha256, entry)
        object.__setattr__(self, "_by_name", names)

    def find(self, key_id: str, public_key: bytes) -> Revocation | None:
        """Returns the first revocation of a key; None if it was not revoked."""
        if not self._by_name:
            return None
        return self._by_name.get(key_id) or self._by_name.get(sha256(public_key).hexdigest())


_NONE = Revocations()


class RevocationsFile:
    """A file of revocations, which is read again when it changes. A missing file has no revocations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._current = _NONE

    def current(self) -> Revocations:
        """Returns the revocations in the file now: the same object as long as the file does not change.

        Raises:
            CustodyError: the file can't be read, or one of its lines is not a revocation.
        """
        try:
            status = self.path.stat()
            _refuse_foreign(self.path, status)
        except FileNotFoundError:
            self._seen, self._current = None, _NONE
            return _NONE
        except OSError as error:
            raise _unreadable(self.path, error) from None
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if seen != self._seen:
            self._current = load_revocations(self.path)
            self._seen = seen
        return self._current


def load_revocations(path: Path) -> Revocations:
    """Reads the file; a missing one has no revocations.

    Raises:
        CustodyError: see `RevocationsFile.current`.
    """
    try:
        # Without waiting: opening a pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _refuse_foreign(path, os.fstat(file.fileno()))
            data = file.read()
    except FileNotFoundError:
        return Revocations()
    except OSError as error:
        raise _unreadable(path, error) from None
    return _parse(data, path)


def add_revocations(path: Path, revocations: Iterable[Revocation]) -> list[Revocation]:
    """Appends revocations of keys that the file does not name yet, and returns them once they are on disk.

    The file and its folder are created if missing. Concurrent calls wait for each other.

    Raises:
        CustodyError: the file can't be read or written, or one of its lines is not a revocation.
    """
    try:
        with _locked(path) as descriptor:
            _refuse_foreign(path, os.fstat(descriptor))
            data = _content(descriptor)
            known = {entry.key_id for entry in _parse(data, path).entries}
            new = [entry for entry in revocations if entry.key_id not in known]
            if new:
                _append(descriptor, data, new)
            return new
    except OSError as error:
        raise CustodyError(
            f"The file of revocations {path} can't be written: {error.strerror}. Nothing was revoked.",
            hint="Make it writable for the user that runs this, or set VAULTSTREAM_REVOCATIONS_FILE to another path.",
        ) from None


def _append(descriptor: int, data: bytes, new: list[Revocation]) -> None:
    whole = data[: data.rfind(b"\n") + 1]
    try:
        _lines().validate_json(data[len(whole) :])
    except ValidationError:
        os.ftruncate(descriptor, len(whole))  # a torn line
    else:
        whole = data
        os.write(descriptor, b"\n")
    text = b"".join(_lines().dump_json(entry) + b"\n" for entry in new)
    while text:
        text = text[os.write(descriptor, text) :]
    os.fsync(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Opens the file for appending, locked, and on disk under its name."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_foreign(path: Path, state: os.stat_result) -> None:
    """Refuses a file that somebody else can change: without its lines, a restored backup has revoked keys as usable.

    It may be a symbolic link, as in a volume of Kubernetes, if nobody else owns that.

    Args:
        path: the file.
        state: of what the path leads to.
    """
    if not stat.S_ISREG(state.st_mode):
        why, hint = "is not a regular file", "Set VAULTSTREAM_REVOCATIONS_FILE to the path of a file."
    elif not {path.lstat().st_uid, state.st_uid} <= {os.geteuid(), 0}:
        why = "belongs to another user, who could remove what it says"
        hint = "Let the user that runs this own it, or root: chown."
    elif state.st_mode & stat.S_IWOTH:
        why = "can be written by every user of this machine"
        hint = f"chmod o-w {shlex.quote(str(path))}"
    else:
        return
    raise CustodyError(f"The file of revocations {path} {why}.", hint=hint)


def _content(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0)


def _parse(data: bytes, where: Path) -> Revocations:
    *lines, last = data.split(b"\n")
    entries = [_revocation(line, number, where) for number, line in enumerate(lines, start=1) if line.strip()]
    if last and not _is_torn(last):
        entries.append(_revocation(last, len(lines) + 1, where))
    return Revocations(tuple(entries))


def _is_torn(line: bytes) -> bool:
    """Whether a last line without an end is the beginning of one of ours: what a killed writer leaves, and nothing else."""
    if not line.startswith(_BEGINNING):
        return _BEGINNING.startswith(line)
    try:
        from_json(line)
    except ValueError as error:
        return str(error).startswith("EOF while parsing")  # what there is has no error
    return False


def _revocation(line: bytes, number: int, where: Path) -> Revocation:
    try:
        return _lines().validate_json(line)
    except ValidationError:
        raise CustodyError(
            f"Line {number} of the file of revocations {where} is not a revocation.",
            hint="Restore the file from a copy. No key is used meanwhile, because the line may revoke it.",
        ) from None


def _unreadable(path: Path, error: OSError) -> CustodyError:
    return CustodyError(
        f"The file of revocations {path} can't be read: {error.strerror}.",
        hint="Make it readable for the user that runs VaultStream. No key is used meanwhile, because the file may revoke it.",
    )
