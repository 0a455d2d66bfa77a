"""The file `.env` in the working directory: read once, and only if no one else could have written it."""

from __future__ import annotations

import io
import logging
import os
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from vaultstream.errors import UsageError

ENV_FILE = Path(".env")
MOST_BYTES = 65_536
"""Maximum size of the file: settings are a few lines."""

logging.getLogger("dotenv.main").addFilter(lambda _: False)  # it warns of each line; see `EnvFile.skipped`


@dataclass(frozen=True)
class EnvFile:
    """What a file says. Its representation shows no values.

    Attributes:
        path: where it is.
        values: text by the name of a variable.
        shared: whether the group of the file may write it.
        skipped: the numbers of the lines that are no settings.
    """

    path: Path
    values: dict[str, str] = field(repr=False)
    shared: bool = False
    skipped: tuple[int, ...] = ()

    @property
    def warning(self) -> str | None:
        """What to say about lines that are skipped, None if there are none."""
        if not self.skipped:
            return None
        more = f" and {len(self.skipped) - 1} more" if len(self.skipped) > 1 else ""
        return f"{self.path}: line {self.skipped[0]}{more} can't be read as NAME=VALUE and is skipped."


def read_env_file(path: Path = ENV_FILE) -> EnvFile | None:
    """Reads a file of settings; returns None if there is none.

    Raises:
        UsageError: it can't be read, is no text, or another user owns it or may write it.
    """
    try:
        path = path.absolute()
        link = path.lstat()
        # Without waiting: opening a pipe would wait for a writer.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, f"can't be read: {error.strerror}") from None
    try:
        state = os.fstat(file)  # of the file that is read, whatever its path names by then
        if not stat.S_ISREG(state.st_mode):
            return None
        if not {link.st_uid, state.st_uid} <= {os.geteuid(), 0}:
            raise _unusable(path, "belongs to another user, who could redirect this command")
        if state.st_mode & stat.S_IWOTH:
            raise _unusable(path, "can be written by every user of this machine")
        with os.fdopen(file, "rb", closefd=False) as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _unreadable(path, f"has more than {MOST_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(path, "is not UTF-8 text") from None
    except OSError as error:
        raise _unreadable(path, f"can't be read: {error.strerror}") from None
    finally:
        os.close(file)
    if "\0" in text:
        raise _unreadable(path, "is not UTF-8 text")
    # What the file says and no more: `${NAME}` would be the command's own environment, which its writer must not get.
    found = dotenv_values(stream=io.StringIO(text), interpolate=False)
    values = {name: value for name, value in found.items() if value}
    skipped = tuple(each.original.line for each in parse_stream(io.StringIO(text)) if each.error)
    return EnvFile(path, values, shared=bool(state.st_mode & stat.S_IWGRP), skipped=skipped)


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"The settings in {path} are not used: it {why}.",
        hint="If it is another program's, start the command in another directory. Else make it readable, as UTF-8.",
    )


def _unusable(path: Path, why: str) -> UsageError:
    quoted = shlex.quote(str(path))
    return UsageError(
        f"The settings in {path} are not used: it {why}.",
        hint=f"If you trust its contents, make the file yours alone (`chown $(id -un) {quoted}; chmod 600 {quoted}`). "
        "Else remove it, or start the command in another directory.",
    )
