"""The folder of copies, beside other users of the machine and other processes."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from vaultstream.errors import ProofError
from vaultstream.sealing.folder import SealsFolder, write_copy

pytestmark = pytest.mark.unit


@pytest.fixture(params=[0o022, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    former = os.umask(request.param)
    yield
    os.umask(former)


@pytest.mark.usefixtures("umask")
def test_each_folder_that_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    folder = SealsFolder(tmp_path / "new" / "seals").job("a-job")
    assert write_copy(folder / "seal.json", b"{}")
    made = [folder, *folder.parents][:4]
    assert [(path.name, path.stat().st_mode & 0o777) for path in made] == [
        (name, 0o700) for name in ("a-job", "jobs", "seals", "new")
    ]


def test_a_folder_that_somebody_has_locked_is_an_error_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultstream.sealing.folder.FOLDER_LOCK_SECONDS", 0.2)
    holder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="has locked the folder"):
            write_copy(tmp_path / "checkpoint", b"1")
    finally:
        os.close(holder)
    assert write_copy(tmp_path / "checkpoint", b"1")


@pytest.mark.parametrize("token", ["a", "-", "-x", "x-", "a-b", "0" * 64])
def test_a_token_that_postgres_accepts_has_a_folder(token: str, tmp_path: Path) -> None:
    assert SealsFolder(tmp_path).job(token) == tmp_path / "jobs" / token


@pytest.mark.parametrize("token", ["", ".", "..", "a/b", "/", "a\n", "A", "a.b", "0" * 65, "\0"])
def test_no_other_name_has_one(token: str, tmp_path: Path) -> None:
    with pytest.raises(ProofError):
        SealsFolder(tmp_path).job(token)


def test_postgres_accepts_the_same_tokens() -> None:
    sql = files("vaultstream.store").joinpath("sql/functions/guard_jobs.sql").read_text()
    [pattern] = re.findall(r"NEW\.token ~ '\^(.+?)\$'", sql)
    assert pattern == "[a-z0-9-]{1,64}"
