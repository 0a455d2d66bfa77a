"""A setting of seals or credentials that can't be used is refused by name before a job runs, and nothing is created."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vaultstream.errors import UsageError
from vaultstream.local.session import open_session
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.sealing.configured import require_usable_seals
from vaultstream.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

VKEY = CosignerKey("witness.example.com/w1", bytes(32)).vkey
SEALS, KEY = "VAULTSTREAM_SEALS_DIR", "VAULTSTREAM_SEAL_KEY_FILE"
WITNESSES, URL, CREDENTIALS = (
    "VAULTSTREAM_WITNESSES",
    "VAULTSTREAM_TIMESTAMP_URL",
    "VAULTSTREAM_CREDENTIALS_DIR",
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "VAULTSTREAM_NATS_URL", "VAULTSTREAM_DATA_DIR", "VAULTSTREAM_KEK_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "link").symlink_to("nowhere")


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (SEALS, "file"),
        (SEALS, "file/below"),
        (SEALS, "link"),
        (SEALS, "link/below"),
        (WITNESSES, "nonsense"),
        (WITNESSES, f"{VKEY[:-4]} https://w1.example.com"),
        (WITNESSES, f"{VKEY} ftp://w1.example.com"),
        (WITNESSES, f"{VKEY} http://w1.example.com"),
        (URL, "nonsense"),
        (URL, "https://tsa.example.com"),  # without the certificates that it is verified by
        (CREDENTIALS, "missing"),
        (CREDENTIALS, "file"),
    ],
)
async def test_a_setting_that_can_not_be_used_is_named_before_anything_starts(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, own: bool
) -> None:
    monkeypatch.setenv(name, value)
    if own:
        monkeypatch.setenv("DATABASE_URL", "postgresql://me@db.invalid/x")
        monkeypatch.setenv("VAULTSTREAM_NATS_URL", "nats://nats.invalid:4222")
    with pytest.raises(UsageError, match=name) as raised:
        async with open_session(load_settings(), runs=True):
            pass
    assert raised.value.field == name
    assert raised.value.hint
    assert set(os.listdir(tmp_path)) == {"file", "link"}  # noqa: PTH208 - that of Path blocks, says ruff


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("missing", "does not exist"),
        ("file/below", "can't be read: Not a directory"),
        ("a" * 300, "too long"),
    ],
)
async def test_a_seal_key_that_is_named_and_missing_is_refused(
    path: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, path)
    settings = load_settings(database_url="postgresql://me@db.invalid/x", nats_url="nats://nats.invalid:4222")
    with pytest.raises(UsageError, match=f"{KEY} names {path}, which .*{why}") as raised:
        async with open_session(settings, runs=True):
            pass
    assert raised.value.field == KEY


def test_a_folder_of_seals_that_is_missing_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEALS, "new/folder")
    require_usable_seals(load_settings())


def test_a_file_where_seals_belong_by_default_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "seals").touch()
    with pytest.raises(UsageError) as raised:
        require_usable_seals(load_settings(data_dir="data"))
    assert SEALS in str(raised.value.hint)
