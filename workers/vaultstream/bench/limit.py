"""The limit: signatures per second that all cores of this machine make when they do nothing else."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from vaultstream.api import Algorithm
from vaultstream.cores import usable_cores
from vaultstream.crypto.algorithms import generate_private_key, signer

SECONDS = 2.0
"""Duration of each of the two measurements."""

_OPENSSL_NAMES = {
    Algorithm.ECDSA_P256_SHA256: "ecdsap256",
    Algorithm.ED25519: "ed25519",
    Algorithm.RSA_PSS_3072_SHA256: "rsa3072",
}
"""Names used by `openssl speed`. ML-DSA has no name that every OpenSSL with ML-DSA knows."""

_CHUNK = 20
"""Signatures between two readings of the clock."""


@dataclass(frozen=True)
class Rate:
    """Signatures per second on all cores, and the CPU time per signature.

    Attributes:
        per_second: signatures per second of all cores together, by wall clock: lower if other programs use the cores.
        cpu_seconds: CPU seconds per signature; other programs change it little.
    """

    per_second: float
    cpu_seconds: float


@dataclass(frozen=True)
class BenchLimit:
    """What a job is measured against.

    Attributes:
        openssl: measured by `openssl speed`; None if there is no openssl or it can't measure the algorithm.
        library: measured with the library that signers use, one process per core, with payloads of the job's size.
    """

    openssl: Rate | None
    library: Rate

    @property
    def rate(self) -> Rate:
        """The rate to compare with: openssl's, if there is one."""
        return self.openssl or self.library


def mean(limits: Sequence[BenchLimit]) -> BenchLimit:
    """Returns the mean of several measurements, to average out a machine that changes speed between them."""
    openssl = [limit.openssl for limit in limits if limit.openssl is not None]
    return BenchLimit(
        openssl=_mean(openssl) if openssl else None, library=_mean([limit.library for limit in limits])
    )


def _mean(rates: Sequence[Rate]) -> Rate:
    count = len(rates)
    return Rate(
        sum(rate.per_second for rate in rates) / count, sum(rate.cpu_seconds for rate in rates) / count
    )


async def measure_limit(algorithm: Algorithm, *, payload_bytes: int, seconds: float = SECONDS) -> BenchLimit:
    """Measures with openssl and with the library, one after the other.

    Args:
        algorithm: the algorithm to sign with.
        payload_bytes: size of the payload that the library signs; `openssl speed` signs a digest or 32 bytes.
        seconds: duration of each of the two measurements.
    """
    return BenchLimit(
        openssl=await _openssl_rate(algorithm, max(1, round(seconds))),
        library=await asyncio.to_thread(_library_rate, algorithm, payload_bytes, seconds),
    )


def parse_speed(output: str) -> float | None:
    """Returns signatures per second from the output of `openssl speed -multi`; None if there is no rate in it.

    The last line that ends with a signing rate and a verification rate is the sum over all processes.
    """
    rates = re.findall(r"^.*\ds +[\d.]+s +([\d.]+) +[\d.]+\s*$", output, re.MULTILINE)
    return float(rates[-1]) if rates else None


async def _openssl_rate(algorithm: Algorithm, seconds: int) -> Rate | None:
    """Runs `openssl speed` twice: on all cores by wall clock, then one process by its CPU time."""
    name = _OPENSSL_NAMES.get(algorithm)
    if shutil.which("openssl") is None or name is None:
        return None
    together = await _speed("-seconds", str(seconds), "-multi", str(usable_cores()), name)
    alone = await _speed("-seconds", str(seconds), name)
    return Rate(together, 1 / alone) if together and alone else None


async def _speed(*arguments: str) -> float | None:
    process = await asyncio.create_subprocess_exec(
        "openssl", "speed", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return parse_speed(output.decode(errors="replace")) if process.returncode == 0 else None


def _library_rate(algorithm: Algorithm, payload_bytes: int, seconds: float) -> Rate:
    cores = usable_cores()
    # Spawned, not forked: the command has threads and an event loop that must not be copied.
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as processes:
        sign = partial(_sign_for, algorithm, payload_bytes)
        list(processes.map(sign, [0.05] * cores))  # waits until all of them have started
        rates = list(processes.map(sign, [seconds] * cores))
    return Rate(sum(rate.per_second for rate in rates), sum(rate.cpu_seconds for rate in rates) / len(rates))


def _sign_for(algorithm: Algorithm, payload_bytes: int, seconds: float) -> Rate:
    """Signs for `seconds` in this process alone."""
    sign = signer(generate_private_key(algorithm), algorithm)
    payload = bytes(payload_bytes)
    count, used = 0, time.process_time()
    started = now = time.perf_counter()
    while now - started < seconds:
        for _ in range(_CHUNK):
            sign(payload)
        count += _CHUNK
        now = time.perf_counter()
    return Rate(count / (now - started), (time.process_time() - used) / count)
