"""The logs of a data directory, one file per worker and one per service: read from the end, and followed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SERVICES = ("postgres.log", "nats.log")
_BLOCK_BYTES = 65_536


def log_folder(data_dir: Path, token: str) -> Path:
    """Returns the folder of the logs of a job's workers, one file per worker."""
    return data_dir / "logs" / token


def choose_job(tokens: Sequence[str], job: str | None) -> str | None:
    """Returns the token of the job whose logs to show; None if there are none.

    Args:
        tokens: the jobs that have logs, newest first.
        job: name or token of the job; None: the newest.
    """
    if job is None:
        return tokens[0] if tokens else None
    if job in tokens:
        return job
    # As vaultstream.store.jobs.new_token makes a token of a name.
    stem = re.sub(r"[^a-z0-9-]", "-", job.lower())[:40]
    return next((token for token in tokens if re.fullmatch(re.escape(stem) + "-[0-9a-f]{8}", token)), None)


def jobs_with_logs(data_dir: Path) -> list[str]:
    """Returns the tokens of the jobs that have logs in a data directory, newest first."""
    folder = data_dir / "logs"
    # Not by glob, for which a folder that can't be read is empty.
    folders = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return [path.name for path in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)]


def has_logs(data_dir: Path) -> bool:
    """Whether a service or a worker has written a log in a data directory."""
    return bool(jobs_with_logs(data_dir)) or any((data_dir / name).is_file() for name in SERVICES)


@dataclass
class LogReader:
    """Continues to read logs where it stopped; reads files that appear later from their beginning."""

    data_dir: Path
    token: str | None
    _read: dict[Path, int] = field(default_factory=dict)

    def tail(self, lines: int) -> Iterator[tuple[str, str]]:
        """Yields the last lines of each log with its name; `news` continues from there."""
        for path in self._files():
            size = path.stat().st_size
            start = max(0, size - _BLOCK_BYTES)
            text, self._read[path] = _whole_lines(path, start)
            found = text.splitlines()
            if start:
                found = found[1:]  # the first line is cut off
            for line in found[-lines:] if lines else []:
                yield path.stem, line

    def news(self) -> Iterator[tuple[str, str]]:
        """Yields the lines written since the last call, with the names of their logs."""
        for path in self._files():
            start = self._read.get(path, 0)
            if path.stat().st_size < start:
                start = 0  # it was rotated
            text, self._read[path] = _whole_lines(path, start)
            for line in text.splitlines():
                yield path.stem, line

    def _files(self) -> list[Path]:
        services = [self.data_dir / name for name in SERVICES]
        workers = sorted(log_folder(self.data_dir, self.token).glob("*.log")) if self.token else []
        return [path for path in [*services, *workers] if path.is_file()]


def _whole_lines(path: Path, start: int) -> tuple[str, int]:
    """Returns the text from an offset to the last end of a line, and the offset after it."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    end = data.rfind(b"\n") + 1
    return data[:end].decode(errors="replace"), start + end
