"""The floor: what a record costs when nothing happens but to sign payloads and to copy the same rows into a table on disk.

A loop on each core signs as a signer does, eight signatures at a time where the native extension works, and sends each thousand
rows by COPY in binary form, in a transaction of its own. It reads, leases, states and acknowledges nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

from vaultstream.bench.limit import Rate
from vaultstream.cores import usable_cores
from vaultstream.crypto.algorithms import generate_private_key, private_key_to_bytes
from vaultstream.crypto.batch_signer import batch_signer
from vaultstream.crypto.rows import DIGEST_BYTES, LENGTH_BYTES, Rows
from vaultstream.store.database import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.api import Algorithm

COPIED_ROWS = 1_000
"""Rows of one COPY, which is one transaction."""
WARM_UP_SECONDS = 0.05

_SPACE = 1 << 40
"""How far apart the ids are that two processes use."""
_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_BEFORE_ID = (6).to_bytes(2) + (8).to_bytes(4)
_AFTER_ID = (
    *((4).to_bytes(4), (1).to_bytes(4)),  # key_no
    *((4).to_bytes(4), (1).to_bytes(4)),  # epoch
    *((8).to_bytes(4), bytes(8)),  # signed_at
    DIGEST_BYTES.to_bytes(4),
)
_BETWEEN = b"".join(_AFTER_ID)


@dataclass(frozen=True)
class FloorLoop:
    """The loop of one process.

    Attributes:
        url: the database.
        schema: of the table.
        table: an empty table like those of signatures, with ids of the type bigint.
        algorithm: the algorithm to sign with.
        payload_bytes: size of a payload.
        local: whether Postgres runs on this machine, so that the CPU time of its sessions counts; if not, that is left out.
    """

    url: str
    schema: str
    table: str
    algorithm: Algorithm
    payload_bytes: int
    local: bool

    def run(self, seconds: float, number: int) -> Rate:
        """Signs and copies for so many seconds. Each run into one table has a number of its own."""
        return asyncio.run(self._run(seconds, first_id=number * _SPACE))

    async def _run(self, seconds: float, *, first_id: int) -> Rate:
        signer = batch_signer(self.algorithm)
        private_key = generate_private_key(self.algorithm)
        key = signer.open(private_key, private_key_to_bytes(private_key))
        payloads = [bytes(self.payload_bytes)] * COPIED_ROWS
        count = 0
        async with connect(self.url) as connection:
            session = psutil.Process(connection.get_server_pid()) if self.local else None
            used = time.process_time() + _cpu_seconds(session)
            started = now = time.perf_counter()
            while now - started < seconds:
                signed = Rows(signer.width, bytearray(signer.sign([key], [COPIED_ROWS], payloads)))
                data = copied_rows(first_id + count, signed)
                await connection.copy_to_table(
                    self.table, schema_name=self.schema, source=_one(data), format="binary"
                )
                count += COPIED_ROWS
                now = time.perf_counter()
            used = time.process_time() + _cpu_seconds(session) - used
        return Rate(count / (now - started), used / count)


def measure_floor(loop: FloorLoop, seconds: float) -> Rate:
    """Runs the loop on all cores at the same time, for so many seconds."""
    cores = usable_cores()
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as processes:
        list(processes.map(loop.run, [WARM_UP_SECONDS] * cores, range(cores)))  # until all have started
        rates = list(processes.map(loop.run, [seconds] * cores, range(cores, 2 * cores)))
    return Rate(sum(rate.per_second for rate in rates), sum(rate.cpu_seconds for rate in rates) / len(rates))


def copied_rows(first_id: int, rows: Rows) -> bytes:
    """Returns rows in the binary form of COPY, with ids from `first_id` on, the key 1 and the epoch 1."""
    data, width, parts = bytes(rows.data), rows.width, [_BEGIN]
    for number, at in enumerate(range(0, len(data), width), start=first_id):
        length = at + DIGEST_BYTES
        signature = length + LENGTH_BYTES
        size = data[length] << 8 | data[length + 1]
        parts += (
            _BEFORE_ID,
            number.to_bytes(8),
            _BETWEEN,
            data[at:length],
            size.to_bytes(4),
            data[signature : signature + size],
        )
    parts.append(_END)
    return b"".join(parts)


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _cpu_seconds(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)
