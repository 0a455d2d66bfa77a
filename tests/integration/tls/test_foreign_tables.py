"""A foreign table is a source like any other. The embedded Postgres has no wrapper for foreign data: the one with TLS has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.as_user import connect
from support.engine import new_name, open_sources
from vaultstream.api import RecordsSpec
from vaultstream.errors import SourceReadError
from vaultstream.records.source import inspect_source
from vaultstream.signing.read import read

if TYPE_CHECKING:
    from vaultstream.signing.read import BatchRecords

pytestmark = pytest.mark.integration

ROWS = r"program $$printf '1,row 1,1.50\n2,row 2,2.50\n'$$"


async def read_foreign(url: str, option: str, records: dict[str, object]) -> BatchRecords:
    """Reads the records 1 to 3 of a table whose rows come from a program or a file."""
    name = new_name()
    async with connect(url) as connection:
        await connection.execute(
            "CREATE EXTENSION IF NOT EXISTS file_fdw;"
            f"CREATE SERVER {name} FOREIGN DATA WRAPPER file_fdw;"
            f"CREATE FOREIGN TABLE {name} (id bigint, payload text, amount numeric) SERVER {name} "
            f"OPTIONS ({option}, format 'csv')"
        )
        source = await inspect_source(connection, RecordsSpec(table=name, **records))
    async with open_sources(url) as sources:
        [found] = await read(sources, source, [range(1, 4)], cap=100, limit=100)
    return found


@pytest.mark.parametrize(
    ("records", "payload"),
    [({}, b"row 2"), ({"payload_columns": ("payload", "amount")}, b'{"amount":"2.50","payload":"row 2"}')],
)
async def test_a_foreign_table_is_read_as_a_table_is(
    postgres_url: str, records: dict[str, object], payload: bytes
) -> None:
    found = await read_foreign(postgres_url, ROWS, records)
    assert (found.ids, found.payloads[1]) == ([1, 2], payload)
    assert [(dead.record_id, dead.reason) for dead in found.dead] == [(3, "RecordGone")]


async def test_a_foreign_server_that_fails_is_no_end_of_postgres_and_no_missing_record(
    postgres_url: str,
) -> None:
    with pytest.raises(SourceReadError, match="/nowhere") as raised:
        await read_foreign(postgres_url, "filename '/nowhere'", {})
    assert not raised.value.lost
