"""`vaultstream bench`: a whole job, measured and verified."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from support.as_user import connect
from support.command import Command
from support.json_page import assert_documented
from vaultstream.api import Algorithm
from vaultstream.bench.result import Wanted
from vaultstream.bench.run import run_bench
from vaultstream.crypto.batch_signer import batch_signer
from vaultstream.local.services import Services
from vaultstream.store import schema
from vaultstream.store.database import open_pool

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def seals_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seal key is that of other databases, too."""
    monkeypatch.setenv("VAULTSTREAM_SEALS_DIR", str(tmp_path / "seals"))


QUICK = ("--limit-seconds", "0.1")


def when_verifying(look: Callable[[], Coroutine[object, object, None]]) -> Callable[[str], None]:
    """Returns a callback for the stages of a bench, which reads or changes Postgres before everything is verified."""

    def stage(name: str) -> None:
        if name == "verifying":
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, look()).result()

    return stage


def test_all_figures_of_a_verified_job_are_reported(tmp_path: Path) -> None:
    found = Command(tmp_path).json(
        "bench", "--records", "1000", "--keys", "7", "--batch-size", "50", "--signers", "2", *QUICK
    )
    assert_documented("bench", found)
    rate = found["records_per_second"]
    assert rate == pytest.approx(1000 / found["seconds"], rel=0.01)
    limits = [each["per_second"] for each in found["limit"][found["limit"]["measured_by"]]]
    assert len(set(limits)) == 2, "measured twice, by the clock"
    assert found["share_of_limit"] == pytest.approx(rate / (sum(limits) / 2), abs=0.0002)
    assert 0 < found["share_by_cpu"] < 1
    assert found["share_of_floor"] == pytest.approx(rate / found["floor"]["per_second"], abs=0.0002)
    assert 0 < found["share_of_floor_by_cpu"] < 1
    assert found["signing_path"] == batch_signer(Algorithm.ECDSA_P256_SHA256).path
    assert {"openssl", "library"} <= found["limit"].keys()
    assert set(found["cpu_seconds"]) == {"signers", "postgres", "nats", "rest"}
    assert found["batches"] == 20
    # Per batch: its publication, the reply to that, its delivery and its acknowledgement. A signer on a busy machine asks
    # for one batch at a time: one request per batch. The records worker reads the stream's state once per second. The
    # seven keys that each signer received before the clock started are not included.
    polls = found["seconds"] + 1
    assert 4 <= found["messages_per_batch"] <= 5 + 10 * polls / 20
    # Leases, reads and commits, for one batch at a time; statistics that arrive late; polls by the workers and the command.
    assert 1 / 7 <= found["transactions_per_batch"] <= 3 + (100 + 60 * polls) / 20
    assert sum("signing worker" in name for name in found["peak_memory_bytes"]) == 2
    assert min(found["peak_memory_bytes"].values()) > 0
    assert found["verification"]["valid"] == 1000
    assert found["verification"]["ok"]
    assert list(tmp_path.iterdir()) == []  # the services were elsewhere, and are gone


@pytest.mark.parametrize("algorithm", ["ED25519", "ML_DSA_65"])
def test_any_algorithm_and_payload_size_is_measured_with_readable_output(
    tmp_path: Path, algorithm: str
) -> None:
    shown = (
        Command(tmp_path)
        .run(
            "bench",
            "--records",
            "60",
            "--batch-size",
            "7",
            "--algorithm",
            algorithm,
            "--payload-bytes",
            "0",
            *QUICK,
        )
        .stdout
    )
    for words in (
        algorithm,
        "signed by",
        "share of the limit",
        "CPU time of signers",
        "peak memory per signing worker",
        "records/s",
    ):
        assert words in shown


def test_more_signers_than_keys_are_refused(tmp_path: Path) -> None:
    refused = Command(tmp_path).run("bench", "--keys", "1", "--signers", "2", expect=2)
    assert "Each signer needs a key" in refused.stderr


async def test_a_checkpoint_comes_first_and_nothing_is_left_in_services_of_the_user(
    services: Services, database_url: str, tmp_path: Path
) -> None:
    here = replace(services, database_url=database_url, data_dir=tmp_path, _local=None)
    wanted = Wanted(records=90, keys=3, batch_size=10, signers=1)
    async with open_pool(database_url, role="test", size=4) as pool:
        async with pool.acquire() as connection:
            await schema.migrate(connection)
            before = await connection.fetchval("SELECT redo_lsn FROM pg_control_checkpoint()")
        result = await run_bench(here, pool, wanted, stage=lambda _: None, limit_seconds=0.1)
        assert result.verification.valid == 90
        async with pool.acquire() as connection:
            tables = await connection.fetch(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND (relname LIKE 'bench%' OR relname LIKE 'signatures%')"
            )
            assert tables == []
            assert await connection.fetchval("SELECT redo_lsn > $1 FROM pg_control_checkpoint()", before)
            assert await connection.fetchval("SELECT count(*) FROM vaultstream.jobs") == 0


async def test_the_clock_runs_from_the_plan_to_the_end_and_not_while_workers_start(
    services: Services, database_url: str, tmp_path: Path
) -> None:
    """By the times that Postgres noted."""
    here = replace(services, database_url=database_url, data_dir=tmp_path, _local=None)
    stages: list[tuple[str, float]] = []
    found: list[asyncpg.Record] = []

    async def look() -> None:
        async with connect(database_url) as connection:
            found.append(
                await connection.fetchrow(
                    "SELECT extract(epoch FROM j.finished_at - min(lower(l.during))) AS signing,"
                    "       extract(epoch FROM j.finished_at - j.created_at) AS existed"
                    "  FROM vaultstream.jobs j JOIN vaultstream.keys USING (job_no)"
                    "  JOIN vaultstream.leases l USING (key_no) GROUP BY j.job_no"
                )
            )

    tell = when_verifying(look)

    def stage(name: str) -> None:
        stages.append((name, time.perf_counter()))
        tell(name)

    async with open_pool(database_url, role="test", size=4) as pool:
        async with pool.acquire() as connection:
            await schema.migrate(connection)
        wanted = Wanted(records=20_000, keys=3, batch_size=100, signers=1)
        result = await run_bench(here, pool, wanted, stage=stage, limit_seconds=0.1)
    [times] = found
    began = dict(stages)
    in_all = began["measuring the limit again"] - began["signing"]
    assert float(times["signing"]) < result.seconds < float(times["existed"]) - result.startup_seconds
    assert result.startup_seconds > 0.2, "processes do not start faster"
    assert result.seconds + result.startup_seconds < in_all
    assert [name for name, _ in stages if "limit" in name] == [
        "measuring the limit",
        "measuring the limit again",
    ]


async def test_a_run_that_signed_wrongly_does_not_pass(
    services: Services, database_url: str, tmp_path: Path
) -> None:
    """However fast it was."""
    here = replace(services, database_url=database_url, data_dir=tmp_path, _local=None)

    async def tamper() -> None:
        async with connect(database_url) as connection:
            name = await connection.fetchval(
                "SELECT relname FROM pg_class WHERE relname ~ '^signatures_[0-9]+$'"
            )
            await connection.execute(f"UPDATE vaultstream.{name} SET signature = '\\x00' WHERE record_id = 5")

    async with open_pool(database_url, role="test", size=4) as pool:
        async with pool.acquire() as connection:
            await schema.migrate(connection)
        wanted = Wanted(records=20, keys=1, batch_size=10, signers=1)
        result = await run_bench(here, pool, wanted, stage=when_verifying(tamper), limit_seconds=0.1)
    assert not result.verification.ok
    assert result.verification.invalid == 1
