"""A pool of worker processes on this machine: starts, watches and drains the same workers that run in pods."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vaultstream.errors import CustodyError, ExitCode, ProcessError, UsageError, VaultStreamError
from vaultstream.last_words import read_last_words
from vaultstream.local.worker_logs import log_folder
from vaultstream.role import WorkerRole
from vaultstream.store.source_login import VARIABLE
from vaultstream.worker import PARENT_VARIABLE

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)

GRACE_SECONDS = 30.0
"""From SIGTERM to SIGKILL: longer than a batch in flight takes."""

RESTART_MAX_SECONDS = 10.0
MAX_CRASHES = 5
"""Failures of a worker in a row after which the pool gives up, except while a service is unreachable."""

_LAST_WORDS_BYTES = 16_384

_FATAL = {ExitCode.USAGE: UsageError, ExitCode.CUSTODY: CustodyError}
"""Exit codes of errors that a restart would not fix."""


@dataclass
class _Slot:
    """One place in the pool, with the process that runs there."""

    role: WorkerRole
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

    Use it with `async with`: leaving it drains all workers, and kills those that are not gone after the grace period, or
    at once if the caller is canceled again meanwhile.
    """

    def __init__(self, services: Services, job: Job) -> None:
        self._services = services
        self._job = job
        self._logs = log_folder(services.data_dir, job.token)
        self._slots = [_Slot(WorkerRole.KEYS, 1), _Slot(WorkerRole.RECORDS, 1)]
        self._leaving: set[asyncio.Task[None]] = set()
        self._draining: set[Process] = set()
        self.started: set[int] = set()
        """Processes that the pool has started, also those that are gone: their sessions end a little later."""
        self.trouble: str | None = None
        """Why a worker failed last; None once all workers run."""

    async def __aenter__(self) -> Self:
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        drained = asyncio.gather(self._drain(self._slots), *self._leaving)
        try:
            await asyncio.shield(drained)
        except asyncio.CancelledError:  # interrupted again: whoever asks twice does not want to wait
            for process in self._draining:
                _signal(process, signal.SIGKILL)
            await drained
            raise

    @property
    def logs(self) -> Path:
        """The folder of the workers' logs, one file per worker."""
        return self._logs

    @property
    def signers(self) -> int:
        """Signing workers that the pool is set to run."""
        return sum(slot.role is WorkerRole.SIGNING for slot in self._slots)

    @property
    def signers_alive(self) -> int:
        """Signing workers that are running."""
        return sum(slot.role is WorkerRole.SIGNING and slot.alive for slot in self._slots)

    async def scale(self, signers: int) -> None:
        """Sets how many signers run; the newest surplus signers drain, which is not awaited."""
        present = [slot for slot in self._slots if slot.role is WorkerRole.SIGNING]
        surplus = present[signers:]
        self._slots = [slot for slot in self._slots if slot not in surplus]
        if surplus:
            draining = asyncio.create_task(self._drain(surplus))
            self._leaving.add(draining)
            draining.add_done_callback(self._leaving.discard)
        self._slots += [_Slot(WorkerRole.SIGNING, n + 1) for n in range(len(present), signers)]
        await self.tend()

    async def tend(self) -> None:
        """Starts missing workers, those that crashed with a growing delay.

        Raises:
            VaultStreamError: a worker failed in a way that a restart would not fix; message and hint are the worker's.
        """
        for slot in self._slots:
            if slot.alive:
                continue
            if slot.process is not None:
                self._check_exit(slot)
            if slot.process is None and time.monotonic() >= slot.start_at:
                slot.process = await self._start(slot)
                self.started.add(slot.process.pid)
        if all(slot.alive for slot in self._slots):
            self.trouble = None

    async def move(self, services: Services) -> None:
        """Updates where the services are; if one has moved, drains the workers and starts them again."""
        moved = (services.database_url, services.nats_url) != (
            self._services.database_url,
            self._services.nats_url,
        )
        self._services = services
        if moved:
            log.info("a service has moved: restarting the workers")
            await self._drain(self._slots)
            for slot in self._slots:
                slot.process = None
            await self.tend()

    def _check_exit(self, slot: _Slot) -> None:
        assert slot.process is not None  # noqa: S101 - for the type checker
        code, pid = slot.process.returncode, slot.process.pid
        slot.process = None
        if code in _FATAL:
            raise self._last_words(slot, pid, _FATAL[ExitCode(code)])
        if code == ExitCode.OK:
            slot.crashes = 0
            slot.start_at = time.monotonic() + 0.2  # it saw the end of the job first
            return
        ended = {"worker": slot.name, "exit_code": code}
        if code is not None and code < 0:  # killed, not at fault
            slot.crashes = 0
            log.warning("%s was killed by signal %d, restarting", slot.name, -code, extra=ended)
            return
        slot.crashes += 1
        words = self._last_words(slot, pid, VaultStreamError)
        self.trouble = words.message
        if code != ExitCode.SERVICE and slot.crashes >= MAX_CRASHES:
            raise words
        delay = min(RESTART_MAX_SECONDS, 0.1 * 2 ** min(slot.crashes, 10))
        slot.start_at = time.monotonic() + delay
        log.warning("%s exited with code %s, restarting in %.1f s", slot.name, code, delay, extra=ended)

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
                start_new_session=True,  # Ctrl-C reaches only the pool, which drains its workers
            )
        except OSError as error:
            raise ProcessError("A worker", error) from None
        finally:
            os.close(file)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self._services.taken,  # workers read no .env
            "DATABASE_URL": self._services.database_url,
            VARIABLE: self._services.source_url or "",
            "VAULTSTREAM_NATS_URL": self._services.nats_url,
            "VAULTSTREAM_NATS_USER": self._services.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": self._services.nats_password,
            "VAULTSTREAM_KEK_FILE": str(self._services.kek_file),
            "VAULTSTREAM_DATA_DIR": str(self._services.data_dir),
            "VAULTSTREAM_LOG_FORMAT": "json",
            PARENT_VARIABLE: str(os.getpid()),
        }

    def _last_words(self, slot: _Slot, pid: int, kind: type[VaultStreamError]) -> VaultStreamError:
        """Returns the error that a worker logged before it exited."""
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
        self._draining.update(alive)
        waits = [asyncio.ensure_future(process.wait()) for process in alive]
        await asyncio.wait(waits, timeout=GRACE_SECONDS)
        for process in alive:
            if process.returncode is None:
                log.warning("process %d did not exit in time: killing it", process.pid)
                _signal(process, signal.SIGKILL)
        await asyncio.gather(*waits)
        self._draining.difference_update(alive)


def _signal(process: Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except ProcessLookupError:
        return
