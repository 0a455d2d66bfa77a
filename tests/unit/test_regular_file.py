"""A pipe in the place of a file of ours is an error at once; nobody waits for its writer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vaultstream.audit.seals.kept_copies import KeptCopies
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.crypto.key_file import KeyFile
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream.errors import CustodyError
from vaultstream.regular_file import open_regular
from vaultstream.sealing.folder import read_copy, write_copy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)
    return path


def test_a_pipe_is_no_file_and_a_link_to_a_file_is_one(pipe: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no regular file"):
        open_regular(pipe)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"x"


def test_a_pipe_in_the_folder_of_seals_stops_nobody(tmp_path: Path) -> None:
    for path in ("checkpoint", "tenants/shop/checkpoint", "jobs/a/seal.json", "jobs/a/checkpoint"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / path)
    key_file = tmp_path / "seal-key"
    create_seal_keys(key_file, "example.com/ours")
    assert SealTrust.read([], [], key_file=key_file, seals_dir=tmp_path).local == ()
    assert KeptCopies.read(tmp_path / "jobs" / "a") == KeptCopies()
    with pytest.raises(OSError, match="no regular file"):
        read_copy(tmp_path / "checkpoint")
    with pytest.raises(OSError, match="no regular file"):
        write_copy(tmp_path / "checkpoint", b"{}")


def test_a_pipe_in_the_place_of_secret_keys_is_refused(pipe: Path) -> None:
    with pytest.raises(CustodyError, match="no regular file"):
        KeyFile(pipe, "key-encryption keys", "Create one.").read()
