"""The floor: rows that are signed and copied, with nothing else in between."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from support.as_user import connect
from support.engine import new_name
from vaultstream.api import Algorithm
from vaultstream.bench.floor import COPIED_ROWS, FloorLoop, copied_rows
from vaultstream.crypto.algorithms import generate_private_key, private_key_to_bytes, verifier
from vaultstream.crypto.batch_signer import batch_signer
from vaultstream.crypto.rows import Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration

TABLE = (
    "CREATE TABLE {} (record_id bigint PRIMARY KEY, key_no int NOT NULL, epoch int NOT NULL, "
    "signed_at timestamptz NOT NULL, digest bytea NOT NULL, signature bytea NOT NULL)"
)


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519])
async def test_the_copied_rows_are_those_that_were_signed(services: Services, algorithm: Algorithm) -> None:
    signer, private_key = batch_signer(algorithm), generate_private_key(algorithm)
    payloads = [str(n).encode() for n in range(20)]
    key = signer.open(private_key, private_key_to_bytes(private_key))
    rows = Rows(signer.width, bytearray(signer.sign([key], [len(payloads)], payloads)))

    async def data() -> AsyncIterator[bytes]:
        yield copied_rows(7, rows)

    table = new_name().replace("-", "_")
    async with connect(services.database_url) as db:
        await db.execute(TABLE.format(table))
        await db.copy_to_table(table, source=data(), format="binary")
        found = await db.fetch(f"SELECT * FROM {table} ORDER BY record_id")
        await db.execute(f"DROP TABLE {table}")
    assert [row["record_id"] for row in found] == list(range(7, 27))
    verify = verifier(private_key.public_key(), algorithm)
    for row, payload in zip(found, payloads, strict=True):
        assert row["digest"] == sha256(payload).digest()
        assert verify(row["signature"], payload)


async def test_every_counted_row_is_committed(services: Services) -> None:
    table = new_name().replace("-", "_")
    async with connect(services.database_url) as db:
        await db.execute(TABLE.format(table))
        loop = FloorLoop(services.database_url, "public", table, Algorithm.ED25519, 10, local=True)
        first, second = [await asyncio.to_thread(loop.run, 0.01, number) for number in (1, 2)]
        rows = await db.fetchval(f"SELECT count(*) FROM {table}")
        await db.execute(f"DROP TABLE {table}")
    assert rows >= 2 * COPIED_ROWS
    assert not rows % COPIED_ROWS
    assert min(first.per_second, second.per_second) > 0
    assert min(first.cpu_seconds, second.cpu_seconds) > 0
