"""What a run costs: CPU time and memory of each process that takes part, as reported by the operating system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from vaultstream.role import WorkerRole


class Part(StrEnum):
    """The parts of the system whose costs are counted separately."""

    SIGNERS = "signers"
    POSTGRES = "postgres"
    NATS = "nats"
    REST = "rest"
    """The records worker, the keys worker, and the command that runs the job."""


_SERVICES = (Part.POSTGRES, Part.NATS)


@dataclass(frozen=True)
class Member:
    """One process that takes part: its name, and the part that it belongs to."""

    name: str
    part: Part


@dataclass
class Costs:
    """Counts costs from `start` on. Call `sample` during the run: a process that has ended can no longer be measured.

    What the samples themselves take is not counted: they are no part of a job.

    Args:
        find: yields the processes that take part at the moment; this process counts as `Part.REST`.
    """

    find: Callable[[], Iterable[tuple[Member, psutil.Process]]]
    peak_memory: dict[str, int] = field(default_factory=dict)
    """Peak resident memory of each process over all samples, in bytes, including shared pages."""
    _used: dict[tuple[int, float], tuple[Part, float]] = field(default_factory=dict)
    _before: dict[Part, float] = field(default_factory=dict)
    _sampling: float = 0.0
    """CPU seconds of this process in samples so far."""

    def start(self) -> None:
        """Records the CPU time that was used before."""
        self.sample()
        self._before = self._totals()

    def sample(self) -> None:
        """Measures each process; takes about 0.1 ms per process."""
        began = time.thread_time()
        now: dict[tuple[int, float], tuple[Part, float]] = {}
        for member, process in self.find():
            try:
                with process.oneshot():
                    used = _cpu_seconds(process, member.part)
                    memory = process.memory_info().rss
            except psutil.Error:
                continue
            if process.pid == os.getpid():
                used -= self._sampling + time.thread_time() - began
            now[process.pid, process.create_time()] = (member.part, used)
            if memory:  # a process that has ended, but was not yet waited for, has none
                self.peak_memory[member.name] = max(memory, self.peak_memory.get(member.name, 0))
        # The CPU time of a service's processes that have ended is counted by its first process.
        kept = {key: used for key, used in self._used.items() if used[0] not in _SERVICES}
        self._used = {**kept, **now}
        self._sampling += time.thread_time() - began

    @property
    def cpu_seconds(self) -> dict[Part, float]:
        """CPU seconds since `start`, up to the last sample of each process."""
        return {part: seconds - self._before.get(part, 0.0) for part, seconds in self._totals().items()}

    def _totals(self) -> dict[Part, float]:
        found = list(self._used.values())
        return {
            part: sum(seconds for whose, seconds in found if whose is part)
            for part in Part
            if any(whose is part for whose, _ in found)
        }


def workers_of(command: psutil.Process) -> Iterable[tuple[Member, psutil.Process]]:
    """Yields the command and the workers that it started."""
    yield Member("command", Part.REST), command
    for child in _children(command):
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        if "worker" in words[:-1]:
            role = words[words.index("worker") + 1]
            part = Part.SIGNERS if role == WorkerRole.SIGNING else Part.REST
            yield Member(f"{role} worker {child.pid}", part), child


def service(name: str, part: Part, pid: int | None) -> Iterable[tuple[Member, psutil.Process]]:
    """Yields a service's process and its children; nothing if the service is not on this machine."""
    if pid is None:
        return
    try:
        process = psutil.Process(pid)
        yield Member(name, part), process
        for child in _children(process):
            yield Member(f"{name} {child.pid}", part), child
    except psutil.Error:
        return


def _children(process: psutil.Process) -> list[psutil.Process]:
    """Returns the processes that a process has started. Linux lists them; elsewhere, all processes of the machine are looked at."""
    try:
        lists = [task.read_text() for task in Path(f"/proc/{process.pid}/task").glob("*/children")]
    except OSError:
        lists = []
    if not lists:
        return list(process.children())
    found = []
    for pid in " ".join(lists).split():
        with suppress(psutil.Error):
            found.append(psutil.Process(int(pid)))
    return found


def this_command() -> psutil.Process:
    """Returns the current process."""
    return psutil.Process(os.getpid())


def _cpu_seconds(process: psutil.Process, part: Part) -> float:
    """Returns the user and system time of a process in seconds; for a service, including its ended children."""
    times = process.cpu_times()
    own = float(times.user + times.system)
    return own + float(times.children_user + times.children_system) if part in _SERVICES else own
