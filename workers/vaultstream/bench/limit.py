"""The limit: signatures that all cores of this machine make in a second when they do nothing else."""

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
"""Of signing, for each of the two ways to measure."""

_OPENSSL_NAMES = {
    Algorithm.ECDSA_P256_SHA256: "ecdsap256",
    Algorithm.ED25519: "ed25519",
    Algorithm.RSA_PSS_3072_SHA256: "rsa3072",
}
"""As `openssl speed` calls them. ML-DSA has no name that every OpenSSL with it knows."""

_CHUNK = 20
"""Signatures between two looks at the clock."""


@dataclass(frozen=True)
class Rate:
    """Signatures in a second on all cores, and the processor time that one takes.

    Attributes:
        per_second: all cores together, by the clock on the wall: less, if others use them meanwhile.
        cpu_seconds: of one signature; what others do changes it little.
    """

    per_second: float
    cpu_seconds: float


@dataclass(frozen=True)
class BenchLimit:
    """What a job is measured against.

    Attributes:
        openssl: by `openssl speed`; None where there is no openssl, or it can't measure the algorithm.
        library: by the library that signers sign with, a process a core, payloads as the job's.
    """

    openssl: Rate | None
    library: Rate

    @property
    def rate(self) -> Rate:
        """The measure: openssl's, where there is one."""
        return self.openssl or self.library


def mean(limits: Sequence[BenchLimit]) -> BenchLimit:
    """Returns the mean of several measurements, so that a machine that slows down meanwhile counts as in between."""
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
    """Measures both ways, one after the other.

    Args:
        algorithm: what to sign with.
        payload_bytes: size of the payload that the library signs; `openssl speed` signs a digest or 32 bytes.
        seconds: for each of the two.
    """
    return BenchLimit(
        openssl=await _openssl_rate(algorithm, max(1, round(seconds))),
        library=await asyncio.to_thread(_library_rate, algorithm, payload_bytes, seconds),
    )


def parse_speed(output: str) -> float | None:
    """Returns signatures per second from what `openssl speed -multi` prints; None if it names none.

    Its last line that ends in a rate of signing and one of verifying is the sum over all processes.
    """
    rates = re.findall(r"^.*\ds +[\d.]+s +([\d.]+) +[\d.]+\s*$", output, re.MULTILINE)
    return float(rates[-1]) if rates else None


async def _openssl_rate(algorithm: Algorithm, seconds: int) -> Rate | None:
    """Asks `openssl speed` twice: on all cores by the clock on the wall, then one process by its processor time."""
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
        list(processes.map(sign, [0.05] * cores))  # they have started, all of them
        rates = list(processes.map(sign, [seconds] * cores))
    return Rate(sum(rate.per_second for rate in rates), sum(rate.cpu_seconds for rate in rates) / len(rates))


def _sign_for(algorithm: Algorithm, payload_bytes: int, seconds: float) -> Rate:
    """Signs for so many seconds in this process alone."""
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
