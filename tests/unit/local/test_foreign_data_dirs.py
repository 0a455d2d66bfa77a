"""A data directory of another user, or one that may not be read: explained by each command that looks into it."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from support.in_process import CliRunner
from vaultstream.errors import LocalServiceError
from vaultstream.local.files import USERS_LOCK, claim_data_dir
from vaultstream.local.services import inspect_services, require_place, stop_services
from vaultstream_cli.main import load
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit

NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A data directory, as it is after a run, that others may enter, but not read."""
    place = tmp_path / "data"
    (place / "postgres" / "data").mkdir(parents=True)
    (place / "logs" / "job-00000001").mkdir(parents=True)
    for name in (USERS_LOCK, "start.lock", "postgres.log", "logs/job-00000001/signing-1.log"):
        (place / name).write_text("")
    return place


@contextmanager
def closed(*paths: Path, to: Path) -> Iterator[None]:
    """Acts as an ordinary user who may not use some paths, and may go to `to`."""
    modes = [(path, path.stat().st_mode) for path in (*paths, to, *to.parents[:2])]
    for path in paths:
        path.chmod(0)
    before = os.geteuid()
    if before == 0:
        for folder in (to, *to.parents[:2]):
            folder.chmod(folder.stat().st_mode | 0o111)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)
        for path, mode in modes:
            path.chmod(mode)


@pytest.mark.parametrize("shut", ["postgres", ".", "users.lock"])
def test_what_may_not_be_read_is_named_with_who_may(place: Path, shut: str) -> None:
    looks = {
        "postgres": (require_place, inspect_services),
        ".": (require_place, inspect_services, lambda path: asyncio.run(stop_services(path))),
        "users.lock": (lambda path: asyncio.run(stop_services(path)),),
    }[shut]
    with closed(place / shut, to=place.parent):
        for look in looks:
            with pytest.raises(LocalServiceError, match="can't be used: no permission for") as refused:
                look(place)
            assert "as its owner" in str(refused.value.hint)
            assert "start" not in refused.value.message.split(" can't ")[1].split(":")[0]


@pytest.mark.parametrize("shut", [".", "logs", "postgres.log", "logs/job-00000001/signing-1.log"])
@pytest.mark.parametrize("words", [("logs", "--no-follow"), ("stop",)])
def test_logs_and_stop_explain_it_too(
    place: Path, words: tuple[str, ...], shut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.parent)
    load(None)
    command = ["debug", *words, "--data-dir", str(place)]
    assert CliRunner().invoke(app, command).exit_code == 0  # and all modules are loaded
    if words == ("stop",) and shut != ".":
        shut = "start.lock"
    with closed(place / shut, to=place.parent):
        ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 5, ran.output
    assert "no permission for" in ran.output
    assert not isinstance(ran.exception, OSError)


def test_the_owner_of_a_foreign_directory_is_named_and_nothing_is_to_be_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(LocalServiceError, match=r"belongs to another user \(\w+\)") as refused:
        claim_data_dir(place, mode=0o700)
    assert "Run the command as that user" in str(refused.value.hint)
    assert "emove" not in str(refused.value.hint)
