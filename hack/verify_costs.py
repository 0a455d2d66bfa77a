"""Measures what verifying a job costs, beside signing it.

    python hack/verify_costs.py [--records N] [--batch-size N]... [--rounds N] [--source] [--beside PYTHON]

Signs a job for each batch size as `vaultstream bench` does, in services of its own, and verifies it in turns. Prints the processor
time per record of all processes: of signing, and of verifying as medians over all rounds. The runs of a verification are checked in
one process, one after the other, so that the start of processes does not count; a first verification is not counted either.
With --beside, the Python of another clone verifies in turns with this one's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import uvloop

from vaultstream.audit import verify
from vaultstream.audit.checks.checker import open_checker
from vaultstream.audit.pool import Run
from vaultstream.audit.report import Tally
from vaultstream.bench import run as bench
from vaultstream.bench.result import Wanted
from vaultstream.cores import usable_cores
from vaultstream.local.session import open_session
from vaultstream.settings import Settings

if TYPE_CHECKING:
    from vaultstream.audit.report import AuditReport
    from vaultstream.local.session import Session

URL, POSTGRES = "VERIFIED_URL", "VERIFIED_POSTGRES"


async def check_in_turn(
    hello: dict[str, Any],
    runs: Sequence[Run],
    *,
    advance: Callable[[Run], None],
    relieve: Callable[[Tally], Awaitable[None]],
    **_: object,
) -> Tally:
    """Does what `check_runs` does, in this process."""
    total = Tally()
    async with open_checker(hello) as checker:
        for each in runs:
            tally = await checker.check(each.first, each.last, each.rows)
            total.merge(Tally.load(json.loads(json.dumps({"tally": tally.dump()}))["tally"]))
            advance(each)
            await relieve(total)
    return total


def cpu_of_postgres(pid: int) -> float:
    """Returns the processor seconds of the server, with sessions that have ended."""
    server = psutil.Process(pid)
    total = 0.0
    for each in [server, *server.children()]:
        try:
            times = each.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    ended = server.cpu_times()
    return total + float(ended.children_user + ended.children_system)


async def verify_again(job: str, rounds: int, records: int, *, source: bool) -> None:
    """Prints µs per record of each round: of this process and of Postgres."""
    verify.check_runs = check_in_turn  # type: ignore[attr-defined]
    url, postgres = os.environ[URL], int(os.environ[POSTGRES])
    for number in range(rounds + 1):
        began, of_postgres = time.process_time(), cpu_of_postgres(postgres)
        # As many runs as two processes share.
        report = await verify.verify_job(url, job, processes=2, compare_source=source)
        used = time.process_time() - began
        if report.valid != records or not report.ok:
            raise SystemExit(f"not verified: {report.problems}")
        await asyncio.sleep(0.3)  # until its sessions have ended, which only then count
        if number:
            also = cpu_of_postgres(postgres) - of_postgres
            sys.stdout.write(json.dumps([used / records * 1e6, also / records * 1e6]) + "\n")


def measured(python: str, job: str, given: argparse.Namespace) -> list[float]:
    """Verifies once in a process of its own, after a first time."""
    words = [python, __file__, "--verify", job, "--records", str(given.records), "--rounds", "1"]
    done = subprocess.run(
        [*words, *(["--source"] if given.source else [])], check=True, capture_output=True, text=True
    )
    found: list[float] = json.loads(done.stdout)
    return found


async def measure(session: Session, given: argparse.Namespace, batch_size: int) -> None:
    pythons = [sys.executable, *([given.beside] if given.beside else [])]
    costs: dict[str, list[list[float]]] = {python: [] for python in pythons}
    really = verify.verify_job

    async def verify_job(url: str, job: str, *, source_url: str | None = None) -> AuditReport:
        for number in range(given.rounds):
            for python in pythons[:: -1 if number % 2 else 1]:
                costs[python].append(await asyncio.to_thread(measured, python, job, given))
        return await really(url, job, source_url=source_url)

    bench.verify_job = verify_job  # type: ignore[attr-defined]
    wanted = Wanted(given.records, keys=100, batch_size=batch_size, signers=usable_cores())
    result = await bench.run_bench(
        session.services, session.pool, wanted, stage=lambda _: None, limit_seconds=0.5
    )
    signing = sum(result.cpu_seconds.values()) / given.records * 1e6
    sys.stdout.write(
        f"{batch_size:6} records per batch: signed in {signing:.1f} µs per record, all processes; share_by_cpu {result.share_by_cpu:.2f}\n"
    )
    for python, found in costs.items():
        here, there = (median(part) for part in zip(*found, strict=True))
        sys.stdout.write(
            f"        verified in {here + there:.2f}: verifying {here:.2f}, Postgres {there:.2f}; "
            f"{(here + there) / signing:.2f} of signing  ({python})\n"
        )
    sys.stdout.flush()


async def main(given: argparse.Namespace) -> None:
    if given.verify:
        await verify_again(given.verify, given.rounds, given.records, source=given.source)
        return
    with tempfile.TemporaryDirectory() as folder:
        async with open_session(Settings(data_dir=Path(folder) / "data")) as session:
            os.environ[URL] = session.services.database_url
            os.environ[POSTGRES] = str(session.services.postgres_pid)
            for batch_size in given.batch_size or (50, 1000, 5000):
                await measure(session, given, batch_size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--batch-size", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", action="store_true")
    parser.add_argument("--beside", help="the interpreter of another clone's .venv")
    parser.add_argument("--verify", help=argparse.SUPPRESS)
    uvloop.run(main(parser.parse_args()))
