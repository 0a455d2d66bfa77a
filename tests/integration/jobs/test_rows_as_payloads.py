"""A job that signs whole rows of a table."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.lab import Lab

pytestmark = pytest.mark.integration


async def test_a_table_of_columns_is_signed_and_verified_row_by_row(lab: Lab) -> None:
    await lab.execute(
        "CREATE TABLE records (id int PRIMARY KEY, name text, amount numeric(9,2), at timestamptz, more jsonb, ratio float8);"
        "INSERT INTO records SELECT n, 'n' || n, n / 4.0, 'epoch', '{\"b\": 1.0}', n / 7.0::float8 FROM generate_series(1, 30) AS n;"
        "UPDATE records SET ratio = 'NaN' WHERE id = 7"
    )
    ended = await lab.run(
        records={"table": "records", "payloadColumns": ["id", "name", "amount", "at", "more", "ratio"]}
    )
    assert await lab.dead(ended.job) == {"7": "PayloadNotCanonical"}
    [(digest,)] = await lab.rows(
        "SELECT payload_sha256 FROM vaultstream.signatures WHERE token = $1 AND record_id = '8'",
        ended.job.token,
    )
    row = '{"amount":"2.00","at":"1970-01-01T00:00:00.000000Z","id":8,"more":{"b":1},"name":"n8","ratio":1.1428571428571428}'
    assert digest == sha256(row.encode()).digest()
    await lab.execute(
        f"ALTER DATABASE {await lab.value('SELECT current_database()')} SET extra_float_digits = 0"
    )
    report = await lab.verify(ended.job)
    assert (report.ok, report.signed, report.dead) == (True, 29, 1)

    await lab.execute("UPDATE records SET more = '{\"b\": 1.00}' WHERE id = 8")
    await lab.execute("UPDATE records SET name = 'other' WHERE id = 9")
    report = await lab.verify(ended.job)
    assert (report.changed, report.valid) == (1, 28)
