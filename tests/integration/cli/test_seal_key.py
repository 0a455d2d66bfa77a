from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from vaultstream.crypto.seal_keys import load_seal_keys

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration


def test_a_seal_key_is_created_once_and_rotated_under_its_name(run_cli: RunCli, tmp_path: Path) -> None:
    env = {"VAULTSTREAM_DATA_DIR": str(tmp_path / "data")}
    file = tmp_path / "data" / "seal-key"
    made = run_cli("seal-key", "create", "--name", "example.com/sign", env=env)
    first = load_seal_keys(file)
    assert made.stdout.split() == [first.signing.public_key.vkey]
    again = run_cli("seal-key", "create", env=env, check=False)
    assert again.returncode == 6
    assert "never overwritten" in again.stderr
    rotated = run_cli("seal-key", "rotate", "--json", env=env)
    assert json.loads(rotated.stdout) == {
        "file": str(file),
        "origin": "example.com/sign",
        "keys": [key.vkey for key in load_seal_keys(file).known],
    }
    assert load_seal_keys(file).known[1:] == first.known
    for done in (made, again, rotated):
        assert "PRIVATE" not in done.stdout + done.stderr


def test_the_setting_names_the_file_and_a_bad_name_is_bad_input(run_cli: RunCli, tmp_path: Path) -> None:
    file = tmp_path / "mine"
    env = {"VAULTSTREAM_SEAL_KEY_FILE": str(file)}
    assert run_cli("seal-key", "create", "--name", "a b", env=env, check=False).returncode == 2
    assert not file.exists()
    assert run_cli("seal-key", "rotate", env=env, check=False).returncode == 6


def test_services_of_their_own_have_a_seal_key(cli_services: Services) -> None:
    assert load_seal_keys(cli_services.data_dir / "seal-key").origin.startswith("vaultstream-")
