"""The limit that a job is measured against."""

from __future__ import annotations

import asyncio
import shutil

import psutil  # type: ignore[import-untyped]
import pytest

from support.waiting import eventually
from vaultstream.api import Algorithm
from vaultstream.bench import limit
from vaultstream.bench.limit import BenchLimit, Rate, mean, measure_limit, parse_speed

pytestmark = pytest.mark.unit

ECDSA = """\
Forked child 0
Got: +F4:3:256:48245.500000:15567.500000 from 1
version: 3.0.19
                              sign    verify    sign/s verify/s
 256 bits ecdsa (nistp256)   0.0000s   0.0000s  97091.0  30993.5
"""
RSA = """\
                  sign    verify    sign/s verify/s
rsa 3072 bits 0.001622s 0.000033s    616.4  30211.8
"""


@pytest.mark.parametrize(
    ("output", "expected"), [(ECDSA, 97091.0), (RSA, 616.4), ("", None), ("no rate", None)]
)
def test_the_rate_of_signing_is_read_from_what_openssl_prints(output: str, expected: float | None) -> None:
    assert parse_speed(output) == expected


def test_the_measure_is_openssl_where_there_is_one() -> None:
    openssl, library = Rate(100.0, 0.01), Rate(80.0, 0.0125)
    assert BenchLimit(openssl, library).rate == openssl
    assert BenchLimit(None, library).rate == library


def test_the_limit_of_a_machine_that_slows_down_is_the_mean() -> None:
    fast, slow = (
        BenchLimit(Rate(100.0, 0.25), Rate(80.0, 0.5)),
        BenchLimit(Rate(50.0, 0.75), Rate(40.0, 1.0)),
    )
    assert mean([fast, slow]) == BenchLimit(Rate(75.0, 0.5), Rate(60.0, 0.75))
    assert mean([fast, BenchLimit(None, slow.library)]) == BenchLimit(Rate(100.0, 0.25), Rate(60.0, 0.75))


async def test_a_rate_is_measured_both_ways() -> None:
    found = await measure_limit(Algorithm.ED25519, payload_bytes=10, seconds=0.2)
    assert found.library.per_second > 100
    assert 0 < found.library.cpu_seconds < 0.01
    if shutil.which("openssl"):
        assert found.openssl is not None
        assert 0 < found.openssl.cpu_seconds < 0.01


async def test_as_many_processes_sign_at_a_time_as_there_are_cores_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limit, "usable_cores", lambda: 3)
    before = set(psutil.Process().children())

    def signing() -> int:
        return sum(
            child.cpu_times().user > 0 and "resource_tracker" not in " ".join(child.cmdline())
            for child in set(psutil.Process().children()) - before
            if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        )

    measuring = asyncio.create_task(measure_limit(Algorithm.ML_DSA_65, payload_bytes=10, seconds=1.0))
    await eventually(lambda: signing() == 3)
    found = await measuring
    assert found.library.per_second > 0


async def test_an_algorithm_that_openssl_can_not_measure_is_measured_by_the_library() -> None:
    found = await measure_limit(Algorithm.ML_DSA_65, payload_bytes=10, seconds=0.1)
    assert found.openssl is None
    assert found.rate == found.library
