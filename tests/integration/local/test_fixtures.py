"""The fixtures that the other tests stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

if TYPE_CHECKING:
    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_an_empty_database(database_url: str, turn: int) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE TABLE mine ()")
    await connection.close()


def test_a_synchronous_test_gets_a_database_too(database_url: str, services: Services, nats_url: str) -> None:
    assert database_url != services.database_url
    assert nats_url == services.nats_url
