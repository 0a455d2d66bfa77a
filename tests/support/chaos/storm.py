"""A storm: the real command runs job after job under faults of all kinds, several at a time.

Each round is a new job with random parameters. It must end, verify, and leave every key free and no process behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

from support.chaos.arena import RECORDS, worker_environment
from support.chaos.catalogue import CATALOGUE, Target, calm_after
from support.chaos.postgres import signatures_on
from support.waiting import eventually
from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.errors import ExitCode, VaultStreamError
from vaultstream.store.database import is_transient
from vaultstream.store.jobs import find_job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from support.chaos.arena import Arena
    from support.chaos.catalogue import Fault
    from vaultstream.store.jobs import Job

ALGORITHMS = ["ECDSA_P256_SHA256", "ECDSA_P256_SHA256", "ED25519"]
SHAPES = [(20, 10), (20, 70), (50, 3), (50, 20), (100, 70), (200, 1), (500, 10)]
"""Batch sizes and numbers of keys."""
INJECTORS = 4
"""Concurrent faults, at most."""
FAULTS_A_ROUND = 250
"""Faults per job; after them the job is left in peace, so that their effects show."""
SOURCES = ("records", "slow_records", "slow_records")
"""The second is slow, so that a job gets more faults than one that is signed in two seconds."""
MOST_SECONDS_APART = 8.0
"""Seconds that an injector waits, at most, for a batch to be settled before its next fault."""
SHARE_ON_A_DISK = 0.4
"""Share of the jobs after the first that store signatures on the disk that fills up, if there is one."""
NEW_KIND = 5
"""Factor on the weight of a kind of fault until it has occurred once, so that a short storm has most kinds."""
POLL_SECONDS = 0.1
CALM_SECONDS = 180.0
"""Seconds within which a job must end after its last fault."""
_AWAY = (VaultStreamError, AssertionError, psutil.Error, *BUS_ERRORS)
_INTERRUPTED = {ExitCode.SERVICE, ExitCode.INTERRUPTED, -signal.SIGKILL, -signal.SIGTERM}
"""Exit codes with which `vaultstream run` may exit early: a service did not recover in time, or it was interrupted."""
DISK = "32m"
"""Size of the disk that fills up: more than the signatures of a job take."""


@dataclass
class Effect:
    """What one kind of fault did."""

    injected: int = 0
    missed: int = 0
    """Times that it was picked but had no target."""
    pauses: list[float] = field(default_factory=list)
    """Seconds from each fault to the next settled batch."""


@dataclass
class Outcome:
    """The totals of a storm."""

    seed: int
    effects: dict[str, Effect] = field(default_factory=dict)
    rounds: int = 0
    records: int = 0
    seconds: float = 0.0
    runs: Counter[int] = field(default_factory=Counter)
    """How often `vaultstream run` exited, by exit code."""
    leases: Counter[str] = field(default_factory=Counter)
    """Ended leases by outcome."""

    @property
    def faults(self) -> int:
        return sum(effect.injected for effect in self.effects.values())

    @property
    def kinds(self) -> set[str]:
        """The kinds of faults that occurred."""
        return {name for name, effect in self.effects.items() if effect.injected}


class Storm:
    """Runs rounds until there were enough faults or the time is up."""

    def __init__(
        self,
        arena: Arena,
        *,
        seed: int,
        faults: int,
        seconds: float,
        tell: Callable[[str], None],
        sources: Sequence[str] = SOURCES,
        disk: Path | None = None,
    ) -> None:
        self.outcome = Outcome(seed, {fault.name: Effect() for fault in CATALOGUE})
        self._arena = arena
        self._chance = random.Random(seed)
        self._faults = faults
        self._sources = sources
        self._disk = disk
        self._end = time.monotonic() + seconds
        self._tell = tell
        self._waiting: list[tuple[str, float]] = []
        self._moved = asyncio.Event()
        """Set whenever a batch is settled."""
        self._may_be_heavy = False

    @property
    def over(self) -> bool:
        return self.outcome.faults >= self._faults or time.monotonic() >= self._end

    async def rage(self) -> Outcome:
        """Runs rounds until the storm is over, including the end of the last job, and returns what it did.

        Raises:
            AssertionError: a guarantee is broken, or a job does not end.
        """
        await self._arena.slow_down("slow_records", "id % 20 = 0")
        start = time.monotonic()
        try:
            while not self.over:
                await self._round()
        finally:
            self.outcome.seconds = time.monotonic() - start
            self._tell(table(self.outcome))
        return self.outcome

    async def _round(self) -> None:
        arena, chance = self._arena, self._chance
        number = self.outcome.rounds + 1
        name, before = f"storm-{number}", self.outcome.faults
        size, keys = chance.choice(SHAPES)
        source = chance.choice(self._sources)
        shape = {
            "records": {"table": source},
            "batchSize": size,
            "keys": {"count": keys, "algorithm": chance.choice(ALGORITHMS)},
            "signer": {"concurrency": chance.choice([1, 4, 16])},
        }
        may_fill_up = chance.random() < SHARE_ON_A_DISK or number == 1
        job = await arena.lab.open(name, **shape)
        at = Target(arena, job, chance)
        start = time.monotonic()
        async with AsyncExitStack() as stack:
            if may_fill_up and self._disk:
                await stack.enter_async_context(signatures_on(arena, job, self._disk))
                at.disk = self._disk
            calm_since = await self._disturb(at, shape)
            report = await arena.assert_promises(job, calm_since=calm_since)
            self.outcome.leases.update(await arena.outcomes(job))
        self._waiting.clear()  # what follows belongs to the next job
        self.outcome.rounds = number
        self.outcome.records += report.records
        self._tell(
            f"round {number}: {self.outcome.faults - before} faults, {time.monotonic() - start:.0f} s, "
            f"{report.valid} signatures valid, none lost, none double "
            f"({source}, batch size {size}, {keys} keys); {self.outcome.faults} faults so far"
        )
        await arena.lab.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)

    async def _disturb(self, at: Target, shape: dict[str, object]) -> datetime:
        """Runs a job to its end, with faults for a while; returns the time since when it was left in peace."""
        async with calm_after(at):
            ended = asyncio.Event()
            run = asyncio.create_task(self._run_to_end(at, ended, shape))
            watch = asyncio.create_task(self._watch(at.job, ended))
            openings = [self._make(fault, at) for fault in CATALOGUE if fault.opening]
            raging = [asyncio.ensure_future(each) for each in openings]
            raging += [asyncio.create_task(self._inject(at, ended)) for _ in range(INJECTORS)]
            try:
                await asyncio.gather(*raging)
                await at.arena.restore()
                at.arena.thaw()
                calm_since = await at.arena.now()
                await asyncio.wait_for(asyncio.shield(run), CALM_SECONDS)
            except TimeoutError:
                raise AssertionError(f"{at.job.name} (seed {self.outcome.seed}) does not end") from None
            finally:
                for task in (run, watch, *raging):
                    task.cancel()
                await asyncio.gather(run, watch, *raging, return_exceptions=True)
        return calm_since

    async def _run_to_end(self, at: Target, ended: asyncio.Event, shape: dict[str, object]) -> None:
        """Runs `vaultstream run` again and again until the job has ended."""
        arena, name = at.arena, at.job.name
        manifest = arena.folder / f"{name}.yaml"
        retries = {"maxAttempts": 2, "backoff": {"initialSeconds": 0.05, "maxSeconds": 0.1}}
        manifest.write_text(
            json.dumps(
                {
                    "apiVersion": "vaultstream.dev/v1alpha1",
                    "kind": "SigningJob",
                    "metadata": {"name": name},
                    "spec": {"retries": retries, **shape},
                }
            )
        )
        wired = arena.lab.services
        environment = os.environ | worker_environment(arena)
        environment |= {
            "DATABASE_URL": wired.database_url,
            "VAULTSTREAM_NATS_URL": wired.nats_url,
            "VAULTSTREAM_NATS_USER": wired.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": wired.nats_password,
            "VAULTSTREAM_KEK_FILE": str(wired.kek_file),
            "VAULTSTREAM_DATA_DIR": str(arena.folder),
            "VAULTSTREAM_MAX_OUTSTANDING": "64",  # so that publishing lasts as long as the job
        }
        while not ended.is_set():
            with (arena.folder / f"{name}.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *(
                        sys.executable,
                        "-m",
                        "vaultstream_cli",
                        "run",
                        "-f",
                        str(manifest),
                        "--max-signers",
                        "3",
                    ),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=arena.folder,
                    env=environment,
                )
            at.run = process.pid
            try:
                code = await process.wait()
            finally:
                at.run = 0
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            self.outcome.runs[code] += 1
            if code not in _INTERRUPTED:
                ended.set()
                said = (arena.folder / f"{name}.log").read_text()[-3000:]
                assert code == ExitCode.OK, f"`vaultstream run` of {name} exited with {code}:\n{said}"

    async def _watch(self, job: Job, ended: asyncio.Event) -> None:
        """Records the time from each fault to the next settled batch."""
        settled = 0
        while True:
            with suppress(Exception):  # Postgres may be unreachable
                now = await self._arena.settled(job)
                if now > settled:
                    settled, moved = now, time.monotonic()
                    for name, when in self._waiting:
                        self.outcome.effects[name].pauses.append(moved - when)
                    self._waiting.clear()
                    self._moved.set()
                    self._may_be_heavy = True
                async with self._arena.connection() as connection:
                    found = await find_job(connection, job.token)
                if found is not None and found.ended:
                    ended.set()
            await asyncio.sleep(POLL_SECONDS)

    async def _inject(self, at: Target, ended: asyncio.Event) -> None:
        """Causes one fault after the other; after each, waits briefly until the job makes progress."""
        limit = self.outcome.faults + FAULTS_A_ROUND
        await eventually(
            lambda: ended.is_set() or self._arena.workers("signing"),
            seconds=CALM_SECONDS,
            what="a signer starts",
        )
        while not ended.is_set() and not self.over and self.outcome.faults < limit:
            [fault] = self._chance.choices(CATALOGUE, self._weights())
            if fault.heavy and not self._may_be_heavy:
                continue
            self._may_be_heavy &= not fault.heavy
            hit = await self._make(fault, at)
            if hit:
                self._moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), MOST_SECONDS_APART if hit else POLL_SECONDS)

    def _weights(self) -> list[int]:
        """Returns the relative frequency of each kind of fault."""
        made = self.outcome.kinds
        return [fault.weight * (1 if fault.name in made else NEW_KIND) for fault in CATALOGUE]

    async def _make(self, fault: Fault, at: Target) -> bool:
        effect = self.outcome.effects[fault.name]
        when = time.monotonic()
        try:
            hit = await fault.make(at)
        except Exception as error:
            if not isinstance(error, _AWAY) and not is_transient(error):
                raise
            hit = False  # another fault was faster: what this one needs is down
        if hit:
            effect.injected += 1
            self._waiting.append((fault.name, when))
        else:
            effect.missed += 1
        return bool(hit)


def table(outcome: Outcome) -> str:
    """Returns a report on each kind of fault, as lines of text."""
    head = f"{'fault':<44}{'made':>7}{'missed':>8}{'until the next batch: median':>30}{'longest':>10}"
    lines = [head, "-" * len(head)]
    for name, effect in sorted(outcome.effects.items(), key=lambda each: -each[1].injected):
        if not effect.injected + effect.missed:
            continue
        median = f"{statistics.median(effect.pauses):.2f} s" if effect.pauses else "-"
        longest = f"{max(effect.pauses):.1f} s" if effect.pauses else "-"
        lines.append(f"{name:<44}{effect.injected:>7}{effect.missed:>8}{median:>30}{longest:>10}")
    minutes = outcome.seconds / 60
    leases = ", ".join(f"{number} {word}" for word, number in sorted(outcome.leases.items()))
    runs = ", ".join(f"{number} with {code}" for code, number in sorted(outcome.runs.items()))
    lines += [
        "-" * len(head),
        f"seed {outcome.seed}: {outcome.faults} faults in {minutes:.1f} minutes, {outcome.faults / minutes:.0f} a minute",
        f"{outcome.rounds} jobs of {RECORDS} records: {outcome.records} signed once each and verified",
        f"leases: {leases}",
        f"`vaultstream run` left: {runs}",
    ]
    return "\n".join(lines)
