"""The server processes of one directory: each has a log, and a record by which later processes find it.

run/<name>.json   pid and command line   0600
log/<name>.log                           0600
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

from vaultstream.errors import LocalServiceError
from vaultstream.local import processes
from vaultstream.local.files import make_private_dir, open_log, read_from, size_of, write_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import psutil  # type: ignore[import-untyped]

_STOP_STEPS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
_KILL_STEPS = ((signal.SIGKILL, 10.0),)


class Daemon:
    """A named server process of `directory`. It outlives the process that starts it."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.log_file = directory / "log" / f"{name}.log"
        self._record = directory / "run" / f"{name}.json"
        self._log_start = size_of(self.log_file)

    @property
    def pid(self) -> int | None:
        """Its process id; None if it is not running."""
        process = self._process()
        return process.pid if process else None

    def start(self, command: Sequence[str]) -> None:
        """Starts it if it is not running."""
        if self._process():
            return
        make_private_dir(self._record.parent)
        make_private_dir(self.log_file.parent)
        output = open_log(self.log_file)
        self._log_start = size_of(self.log_file)
        try:
            process = processes.spawn(command, output=output)
        finally:
            os.close(output)
        write_private(self._record, json.dumps({"pid": process.pid, "command": list(command)}))

    async def stop(self) -> None:
        """Stops it gracefully, and kills it after ten seconds.

        Raises:
            LocalServiceError: it does not end.
        """
        await self._end(_STOP_STEPS)

    async def kill(self) -> None:
        """Kills it like a crash (kill -9), and returns when it has ended."""
        await self._end(_KILL_STEPS)

    def last_words(self) -> str:
        """Returns the end of its log since it was started."""
        return read_from(self.log_file, self._log_start)[-2000:].strip()

    async def _end(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        process = self._process()
        if process and not await processes.end(process, steps):
            raise LocalServiceError(
                f"{self.name} (process {process.pid}) does not stop.", hint=f"See {self.log_file}."
            )

    def _process(self) -> psutil.Process | None:
        if not self._record.exists():
            return None
        record = json.loads(self._record.read_text(encoding="utf-8"))
        return processes.find(record["pid"], record["command"])


def recorded(directory: Path) -> list[Daemon]:
    """Returns all daemons ever started in `directory`, running or not."""
    return [Daemon(directory, record.stem) for record in sorted((directory / "run").glob("*.json"))]
