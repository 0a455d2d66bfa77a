"""What the doctor says of the seal key, the folder of copies and jobs without a seal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vaultstream.crypto.seal_keys import create_seal_keys, rotate_seal_keys
from vaultstream.doctor.findings import Level
from vaultstream.doctor.seals import examine_folder, examine_seal_files, judge_unsealed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def test_a_seal_key_and_a_folder_that_can_be_written_are_fine(tmp_path: Path) -> None:
    create_seal_keys(tmp_path / "seal-key", "example.com/sign")
    rotate_seal_keys(tmp_path / "seal-key")
    key, folder = examine_seal_files(tmp_path / "seal-key", tmp_path / "seals", seals=True)
    assert (key.level, folder.level) == (Level.OK, Level.OK)
    assert "example.com/sign and 1 former key" in key.message
    assert not (tmp_path / "seals").exists(), "doctor creates nothing"


@pytest.mark.parametrize(
    ("seals", "unborn", "level"),
    [(True, False, Level.WARNING), (False, False, Level.OK), (True, True, Level.OK)],
)
def test_a_missing_seal_key_is_reported_to_who_would_seal(
    tmp_path: Path, *, seals: bool, unborn: bool, level: Level
) -> None:
    [found] = examine_seal_files(tmp_path / "seal-key", tmp_path, seals=seals, unborn=unborn)
    assert found.level is level
    assert level is Level.OK or "seal-key create" in str(found.hint)


def test_a_seal_key_that_others_may_read_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "seal-key"
    create_seal_keys(file)
    file.chmod(0o644)
    [found] = examine_seal_files(file, tmp_path, seals=True)
    assert (found.level, found.hint) == (Level.FAILED, f"chmod 600 {file}")


def test_a_folder_that_is_a_file_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "seals"):
        found = examine_folder(path)
        assert found.level is Level.WARNING
        assert "VAULTSTREAM_SEALS_DIR" in str(found.hint)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_others_can_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert examine_folder(tmp_path / "seals").level is Level.WARNING


def test_complete_jobs_without_a_seal_are_named() -> None:
    assert judge_unsealed([]).level is Level.OK
    found = judge_unsealed(["a", "b", "c", "d", "e"])
    assert found.level is Level.WARNING
    assert "5 complete jobs are not sealed: a, b, c and 2 more." in found.message
    assert "vaultstream log seal" in str(found.hint)
