"""A run that is interrupted, even by SIGKILL, loses nothing and signs nothing twice."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from support.freezing import freeze, is_pending
from support.waiting import eventually
from vaultstream.local.pool import GRACE_SECONDS
from vaultstream_cli.app import RESUMES

if TYPE_CHECKING:
    import subprocess

    from support.command import Command

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

RECORDS = 20_000
KEYS = 20
JOB = f"quick-start-{RECORDS}-batch-20"
ENVIRONMENT = {
    "TOTAL_RECORDS": str(RECORDS),
    "BATCH_SIZE": "20",
    "TOTAL_KEYS": str(KEYS),
    "VAULTSTREAM_LEASE_SECONDS": "2",
}


async def start_and_wait_for_signers(command: Command) -> subprocess.Popen[str]:
    run = command.start("quick-start", **ENVIRONMENT)

    def signing() -> bool:
        logs = list((command.data_dir / "logs").glob("*/signing-*.log"))
        assert run.poll() is None, run.communicate()
        keys = "".join(log.read_text() for log in (command.data_dir / "logs").glob("*/keys-1.log"))
        signers = [log.read_text() for log in logs]
        return (
            "keys created" in keys
            and len(logs) >= 2
            and all("signing worker started" in log for log in signers)
        )

    await eventually(signing)
    return run


def assert_every_key_was_given_back(command: Command) -> None:
    keys = command.json("keys", "list", JOB)
    assert len(keys) == KEYS
    assert not [key for key in keys if key["holder"]]


def assert_all_are_signed_once(found: dict[str, object]) -> None:
    assert (found["valid"], found["duplicates"], found["lease_overlaps"], found["missing"]) == (
        RECORDS,
        0,
        0,
        0,
    )


def resume(command: Command) -> None:
    result = command.json("quick-start", **ENVIRONMENT)
    assert (result["signed"], result["dead"]) == (RECORDS, 0)
    assert result["job"] == JOB
    assert_all_are_signed_once(result["verification"])
    assert_every_key_was_given_back(command)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_drains_and_a_later_run_resumes(command: Command, number: signal.Signals) -> None:
    run = await start_and_wait_for_signers(command)
    run.send_signal(number)
    _, told = run.communicate(timeout=40)
    assert run.returncode == 130
    assert RESUMES in told
    assert "Traceback" not in told
    assert not command.workers()
    assert "worker stopped" in (next((command.data_dir / "logs").glob("*/signing-1.log"))).read_text()

    assert_every_key_was_given_back(command)
    resume(command)


async def test_a_second_signal_ends_the_run_at_once(command: Command) -> None:
    run = await start_and_wait_for_signers(command)
    workers = command.workers()
    for worker in workers:
        await freeze(worker)  # it can't drain: the run would wait for the whole grace period
    run.send_signal(signal.SIGINT)
    await eventually(lambda: all(is_pending(worker, signal.SIGTERM) for worker in workers))
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=GRACE_SECONDS / 2)
    assert run.returncode == 130
    assert RESUMES in told
    assert "Traceback" not in told
    assert not command.workers()
    resume(command)


async def test_a_run_interrupted_while_it_is_verified_is_not_signed_again(command: Command) -> None:
    run = command.start("quick-start", **ENVIRONMENT)

    def complete() -> bool:
        assert run.poll() is None, run.communicate()
        logs = (command.data_dir / "logs").glob("*/records-1.log")
        return any('"job complete"' in log.read_text() for log in logs)

    await eventually(complete, seconds=100)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=40)
    assert run.returncode == 130, told
    assert RESUMES in told
    resume(command)


async def test_a_killed_run_leaves_no_worker_and_a_later_run_resumes(command: Command) -> None:
    run = await start_and_wait_for_signers(command)
    run.kill()
    run.communicate()
    await eventually(lambda: not command.workers(), what="the workers exit when their pool is gone")
    resume(command)


async def test_signers_killed_again_and_again_are_replaced(command: Command) -> None:
    run = await start_and_wait_for_signers(command)
    killed = 0
    while run.poll() is None and killed < 6:
        before = set(command.workers())
        for pid in before:
            try:
                if "signing" in psutil.Process(pid).cmdline():
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                    break
            except psutil.NoSuchProcess:
                continue
        await eventually(lambda before=before: run.poll() is not None or set(command.workers()) - before)
    _, told = run.communicate(timeout=100)
    assert run.returncode == 0, told
    assert killed
    assert_all_are_signed_once(command.json("verify", JOB))
    assert_every_key_was_given_back(command)
    assert not command.workers()


async def test_killed_services_are_restarted_and_the_run_continues(command: Command) -> None:
    run = await start_and_wait_for_signers(command)
    for process in psutil.process_iter(["name", "cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(command.data_dir) in words and process.info["name"] in ("postgres", "nats-server"):
            process.kill()
    _, told = run.communicate(timeout=110)
    assert run.returncode == 0, told
    assert_all_are_signed_once(command.json("verify", JOB))
    assert_every_key_was_given_back(command)
    assert not command.workers()
