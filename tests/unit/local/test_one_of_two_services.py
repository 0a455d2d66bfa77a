"""What a command needs before it starts a service or creates a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vaultstream.errors import NoDatabaseError, UsageError
from vaultstream.local.services import open_services
from vaultstream.local.session import open_session
from vaultstream.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

URLS = {"database_url": "postgresql://me@db/x", "nats_url": "nats://here:4222"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "VAULTSTREAM_NATS_URL", "VAULTSTREAM_DATA_DIR", "VAULTSTREAM_KEK_FILE"):
        monkeypatch.delenv(name, raising=False)


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


@pytest.mark.parametrize("given", URLS)
async def test_one_of_two_services_is_refused_and_nothing_is_created(given: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is set, and") as raised:
        async with open_services(load_settings(**{given: URLS[given]})):
            pass
    assert "DATABASE_URL" in str(raised.value.hint) + raised.value.message
    assert "--data-dir" in str(raised.value.hint)
    assert is_empty(tmp_path)


async def test_a_folder_that_is_named_says_where_the_other_service_is() -> None:
    settings = load_settings(data_dir="data", **URLS)
    async with open_services(settings) as services:
        assert services.nats_url == URLS["nats_url"]


async def test_a_command_that_reads_a_database_of_ones_own_starts_nothing(tmp_path: Path) -> None:
    async with open_services(
        load_settings(database_url=URLS["database_url"]), reads=True, nats=False
    ) as services:
        assert services.nats_url == ""
        assert services.nats_pid is None
    assert is_empty(tmp_path)


async def test_an_empty_place_is_named_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(NoDatabaseError, match=str(tmp_path / "data")):
        async with open_session(load_settings(data_dir=tmp_path / "data"), reads=True):
            pass
    assert is_empty(tmp_path)
