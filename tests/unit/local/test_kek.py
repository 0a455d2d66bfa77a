from __future__ import annotations

from pathlib import Path

import pytest

from vaultstream.crypto.keyring import load_keyring
from vaultstream.errors import CustodyError
from vaultstream.local.kek import make_kek_file, refusal
from vaultstream.settings import load_settings

pytestmark = pytest.mark.unit


def test_no_file_is_made_that_lacks_the_keys_in_use() -> None:
    assert refusal(set(), used_folder=None) is None
    assert "kek-2, kek-3" in str(refusal({"kek-3", "kek-2"}, used_folder=None))
    assert "data was used before" in str(refusal(set(), used_folder=Path("data")))


async def test_a_used_data_directory_gets_no_new_file_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    settings = load_settings(data_dir=tmp_path)
    with pytest.raises(CustodyError):
        await make_kek_file(settings)
    assert not (tmp_path / "kek").exists()
    made = await make_kek_file(settings, force=True)
    assert (made.path, made.unchecked) == (tmp_path / "kek", None)
    assert load_keyring(made.path).primary.kek_id == made.kek_id
