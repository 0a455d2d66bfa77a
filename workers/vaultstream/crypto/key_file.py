"""A file of secret keys: private, replaced as a whole, and changed by one process at a time.

A process that reads or creates one leaves no core dump from then on.

A file that every user may read or write is refused. One that its group may read is accepted, because that is how
Kubernetes mounts a Secret for a pod that has an `fsGroup` (give the volume `defaultMode: 0400`).
"""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vaultstream.crypto.core_dumps import forbid_core_dumps
from vaultstream.errors import CustodyError
from vaultstream.regular_file import open_regular

_EVERYONE = 0o007


@dataclass(frozen=True)
class KeyFile:
    """A file of secret keys, which may not exist yet. No message shows its content."""

    path: Path
    keys: str
    """What its keys are called in messages, in the plural."""
    absent: str
    """The hint if there is no such file."""

    def read(self) -> bytes:
        """Returns the content of the file.

        Raises:
            CustodyError: the file is missing, can't be read, is no regular file, or is open to every user.
        """
        return self._read(self.path)

    def create(self, content: bytes) -> None:
        """Creates the file, mode 0600, and its folder if missing. The file appears complete or not at all.

        Raises:
            CustodyError: the file already exists (it is never overwritten), or can't be written.
        """
        with self._explained("created"):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.path.parent) as folder, _written(self.path, content) as new:
                os.link(new, self.path)  # unlike a rename, a link never replaces an existing file
                os.fsync(folder)

    def change(self, change: Callable[[bytes], bytes]) -> bytes:
        """Replaces the content by what `change` makes of it, and returns that.

        The file is replaced atomically and keeps its owner, group and mode. Concurrent changes wait for each other.

        Raises:
            CustodyError: as for `read`; or the file can't be written and stays as it was.
        """
        with self._explained("changed"):
            real = self.path.resolve()  # a symbolic link stays one: its target is replaced
            with _locked(real.parent) as folder:
                after = change(self._read(real))
                with _written(real, after, like=real.stat()) as new:
                    new.replace(real)
                    os.fsync(folder)
        return after

    def _read(self, path: Path) -> bytes:
        forbid_core_dumps()
        try:
            with open_regular(path) as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                data = file.read()
        except FileNotFoundError:
            raise CustodyError(f"There is no file of {self.keys} at {path}.", hint=self.absent) from None
        except OSError as error:
            raise CustodyError(
                f"The file of {self.keys} {path} can't be read: {error.strerror}.",
                hint="Make it readable for the user that runs VaultStream, and for nobody else.",
            ) from None
        if mode & _EVERYONE:
            raise CustodyError(
                f"The file of {self.keys} {path} is open to every user of this machine (mode {mode:04o}).",
                hint=f"chmod 600 {shlex.quote(str(path))}",
            )
        return data

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """Turns errors of the operating system into sentences for people."""
        try:
            yield
        except FileExistsError:
            raise CustodyError(
                f"{self.path} already exists; {self.keys} are never overwritten.",
                hint="Use that file, or choose another path.",
            ) from None
        except OSError as error:
            raise CustodyError(
                f"The file of {self.keys} {self.path} can't be {done}: {error.strerror}.",
                hint=f"Make {self.path.parent} writable for the user that runs this, and check that its disk has space.",
            ) from None


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Locks out other changes while the file is read and replaced; yields the folder's descriptor.

    The lock is on the folder, because each change replaces the file.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _written(path: Path, content: bytes, like: os.stat_result | None = None) -> Iterator[Path]:
    """Yields a new file beside `path`, synced to disk, to be put in its place. Call it only under the lock."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # left by a process that was killed here
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - from a descriptor
            file.write(content)
            file.flush()
            if like is not None:
                _liken(file.fileno(), like)
            os.fsync(file.fileno())
        yield new
    finally:
        new.unlink(missing_ok=True)


def _liken(descriptor: int, former: os.stat_result) -> None:
    """Gives a new file its predecessor's owner, group and mode, so the same users can read it."""
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (former.st_uid, former.st_gid):
        os.fchown(descriptor, former.st_uid, former.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(former.st_mode))
