"""Processor time and memory, by whose they are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from vaultstream.bench.costs import Costs, Member, Part, service, this_command, workers_of

pytestmark = pytest.mark.unit


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_only_what_is_used_after_the_start_counts() -> None:
    burn(0.1)
    costs = Costs(lambda: [(Member("me", Part.REST), this_command())])
    costs.start()
    assert costs.cpu_seconds == {Part.REST: 0.0}
    burn(0.2)
    costs.sample()
    assert 0.15 < costs.cpu_seconds[Part.REST] < 0.6
    assert costs.peak_memory["me"] > 2**20


def test_what_measuring_takes_is_not_counted() -> None:
    def find() -> Iterator[tuple[Member, psutil.Process]]:
        burn(0.1)
        yield Member("me", Part.REST), this_command()
        burn(0.1)

    costs = Costs(find)
    costs.start()
    costs.sample()
    costs.sample()
    assert costs.cpu_seconds[Part.REST] < 0.1


def test_what_a_process_used_stays_counted_when_it_has_ended() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass\ninput()"], stdin=-1
    )
    process = psutil.Process(child.pid)
    there = True

    def find() -> Iterator[tuple[Member, psutil.Process]]:
        if there:
            yield Member("signing worker", Part.SIGNERS), process

    costs = Costs(find)
    costs.start()
    while costs.cpu_seconds[Part.SIGNERS] < 0.1:
        costs.sample()
    counted = costs.cpu_seconds[Part.SIGNERS]
    child.communicate(b"\n")
    there = False
    costs.sample()
    assert costs.cpu_seconds[Part.SIGNERS] == counted >= 0.1


def test_a_process_that_has_ended_has_unknown_memory_and_not_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    costs = Costs(lambda: [(Member("postgres 1", Part.POSTGRES), process)])
    costs.sample()
    child.wait()
    assert costs.peak_memory == {}


def test_a_service_is_its_process_and_those_that_it_started() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    try:
        names = [member.name for member, _ in service("postgres", Part.POSTGRES, os.getpid())]
        assert names[0] == "postgres"
        assert f"postgres {child.pid}" in names
        assert list(service("postgres", Part.POSTGRES, None)) == []
    finally:
        child.communicate(b"\n")


def test_the_processes_that_a_thread_has_started_are_found() -> None:
    with ThreadPoolExecutor(1) as threads:
        child = threads.submit(subprocess.Popen, [sys.executable, "-c", "input()"], stdin=-1).result()
        try:
            found = [process.pid for _, process in service("postgres", Part.POSTGRES, os.getpid())]
            assert child.pid in found
        finally:
            child.communicate(b"\n")


def test_workers_are_known_by_what_they_run() -> None:
    words = [sys.executable, "-c", "print(flush=True); input()", "vaultstream_cli", "worker"]
    roles = ("signing", "records")
    children = [subprocess.Popen([*words, role, "job"], stdin=-1, stdout=-1) for role in roles]
    try:
        for child in children:
            assert child.stdout
            child.stdout.readline()  # now it runs: a process just made may have no command line yet
        found = {member.name.split()[0]: member.part for member, _ in workers_of(this_command())}
        assert found["signing"] is Part.SIGNERS
        assert found["records"] is Part.REST
        assert found["command"] is Part.REST
    finally:
        for child in children:
            child.communicate(b"\n")
