"""A pool of worker processes on this machine: the same workers that run in pods, started, watched and drained."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vaultstream.errors import CustodyError, ExitCode, UsageError, VaultStreamError
from vaultstream.last_words import read_last_words
from vaultstream.local.worker_logs import log_folder
from vaultstream.worker import PARENT_VARIABLE

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)

GRACE_SECONDS = 30.0
"""From SIGTERM to SIGKILL: more than a batch in hand takes."""

RESTART_MAX_SECONDS = 10.0
MOST_CRASHES = 5
"""So often in a row a worker may fail, other than for a service that is away, before its job is given up."""

_LAST_WORDS_BYTES = 16_384

_FATAL = {ExitCode.USAGE: UsageError, ExitCode.CUSTODY: CustodyError}
"""Exit codes of a worker that starting it again would not change."""


@dataclass
class _Slot:
    """One place in the pool, with the process that fills it."""

    role: str
    number: int
    process: Process | None = None
    crashes: int = 0
    start_at: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.role}-{self.number}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None


class WorkerPool:
    """Keeps one keys worker, one records worker and a number of signers running for a job.

    Use as `async with`: leaving it drains all workers, and kills those that do not leave within the grace period.
    """

    def __init__(self, services: Services, job: Job) -> None:
        self._services = services
        self._job = job
        self._logs = log_folder(services.data_dir, job.token)
        self._slots = [_Slot("keys", 1), _Slot("records", 1)]
        self._leaving: set[asyncio.Task[None]] = set()
        self.restarts = 0
        """Workers that had to be started again."""
        self.trouble: str | None = None
        """Last words of a worker that failed, until all run again."""

    async def __aenter__(self) -> Self:
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(asyncio.gather(self._drain(self._slots), *self._leaving))

    @property
    def logs(self) -> Path:
        """The folder of the workers' logs, one file a worker."""
        return self._logs

    @property
    def signers(self) -> int:
        """Signing workers that the pool keeps, now."""
        return sum(slot.role == "signing" for slot in self._slots)

    @property
    def signers_alive(self) -> int:
        """Signing workers that run, now."""
        return sum(slot.role == "signing" and slot.alive for slot in self._slots)

    async def scale(self, signers: int) -> None:
        """Sets how many signers run; those too many, the newest, drain and leave without being waited for."""
        present = [slot for slot in self._slots if slot.role == "signing"]
        surplus = present[signers:]
        self._slots = [slot for slot in self._slots if slot not in surplus]
        if surplus:
            draining = asyncio.create_task(self._drain(surplus))
            self._leaving.add(draining)
            draining.add_done_callback(self._leaving.discard)
        self._slots += [_Slot("signing", n + 1) for n in range(len(present), signers)]
        await self.tend()

    async def tend(self) -> None:
        """Starts workers that are missing; one that crashed waits, longer each time it does.

        Raises:
            VaultStreamError: a worker left for a reason that a new start would not change, in its own words.
        """
        for slot in self._slots:
            if slot.alive:
                continue
            if slot.process is not None:
                self._look_into(slot)
            if slot.process is None and time.monotonic() >= slot.start_at:
                slot.process = await self._start(slot)
        if all(slot.alive for slot in self._slots):
            self.trouble = None

    async def move(self, services: Services) -> None:
        """Takes note of where the services are; if one has moved, the workers start anew there."""
        moved = (services.database_url, services.nats_url) != (
            self._services.database_url,
            self._services.nats_url,
        )
        self._services = services
        if moved:
            log.info("a service has moved: the workers start anew")
            await self._drain(self._slots)
            for slot in self._slots:
                slot.process = None
            await self.tend()

    def _look_into(self, slot: _Slot) -> None:
        assert slot.process is not None  # noqa: S101 - for the type checker
        code, pid = slot.process.returncode, slot.process.pid
        slot.process = None
        if code in _FATAL:
            raise self._last_words(slot, pid, _FATAL[ExitCode(code)])
        if code == ExitCode.OK:
            slot.crashes = 0
            slot.start_at = time.monotonic() + 0.2  # it saw the job's end before we did
            return
        self.restarts += 1
        if code is not None and code < 0:  # killed, by no fault of its own
            slot.crashes = 0
            log.warning("%s was ended by signal %d; starts again", slot.name, -code)
            return
        slot.crashes += 1
        words = self._last_words(slot, pid, VaultStreamError)
        self.trouble = words.message
        if code != ExitCode.SERVICE and slot.crashes >= MOST_CRASHES:
            raise words
        delay = min(RESTART_MAX_SECONDS, 0.1 * 2 ** min(slot.crashes, 10))
        slot.start_at = time.monotonic() + delay
        log.warning("%s ended with %s; starts again in %.1f s", slot.name, code, delay)

    async def _start(self, slot: _Slot) -> Process:
        file = os.open(self._logs / f"{slot.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "vaultstream",
                "worker",
                slot.role,
                self._job.token,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self._environment(),
                start_new_session=True,  # the terminal's Ctrl-C is for us; we drain them
            )
        finally:
            os.close(file)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self._services.database_url,
            "VAULTSTREAM_NATS_URL": self._services.nats_url,
            "VAULTSTREAM_NATS_USER": self._services.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": self._services.nats_password,
            "VAULTSTREAM_KEK_FILE": str(self._services.kek_file),
            "VAULTSTREAM_DATA_DIR": str(self._services.data_dir),
            "VAULTSTREAM_LOG_FORMAT": "json",
            PARENT_VARIABLE: str(os.getpid()),
        }

    def _last_words(self, slot: _Slot, pid: int, kind: type[VaultStreamError]) -> VaultStreamError:
        """Returns the error that a worker logged last, as one of ours."""
        path = self._logs / f"{slot.name}.log"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_WORDS_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        words = read_last_words(lines, pid=pid)
        if words is None:
            return kind(f"The {slot.role} worker failed; its log is {path}.")
        return kind(words.message, hint=words.hint)

    async def _drain(self, slots: list[_Slot]) -> None:
        alive = [slot.process for slot in slots if slot.alive and slot.process is not None]
        for process in alive:
            _signal(process, signal.SIGTERM)
        if not alive:
            return
        waits = [asyncio.ensure_future(process.wait()) for process in alive]
        await asyncio.wait(waits, timeout=GRACE_SECONDS)
        for process in alive:
            if process.returncode is None:
                log.warning("process %d did not leave in time", process.pid)
                _signal(process, signal.SIGKILL)
        await asyncio.gather(*waits)


def _signal(process: Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except ProcessLookupError:
        return
