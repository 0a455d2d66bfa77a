import asyncio
import os
import pwd
import stat
from pathlib import Path

import pytest

from support.embedded import AS_ROOT
from vaultstream.errors import LocalServiceError, UsageError
from vaultstream.local import files
from vaultstream.local.files import (
    FileLock,
    claim_data_dir,
    make_private_dir,
    open_log,
    open_the_way,
    read_from,
    whole_data_dir,
    write_private,
)
from vaultstream.local.services import stop_services

pytestmark = pytest.mark.unit


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_private_directory_is_tightened_when_it_exists(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.mkdir(mode=0o777)
    assert mode(make_private_dir(path)) == 0o700


@AS_ROOT
def test_a_directory_or_link_of_another_user_is_neither_used_nor_given_away(tmp_path: Path) -> None:
    """Somebody who may write where root starts a command had any directory of the machine given to our Postgres."""
    theirs, precious = tmp_path / "theirs", tmp_path / "precious"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    precious.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(precious)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    server = pwd.getpwnam("nobody")
    for path in (theirs, link):
        with pytest.raises(LocalServiceError, match="belongs to another user"):
            make_private_dir(path, server)
    assert (precious.stat().st_uid, mode(precious)) == (os.geteuid(), 0o755)


def test_a_link_of_ones_own_leads_to_the_data(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    make_private_dir(tmp_path / "data")
    assert mode(tmp_path / "disk") == 0o700


def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    for existing in (0o700, 0o755, 0o711):
        path = tmp_path / f"{existing:o}"
        path.mkdir()
        path.chmod(existing)
        assert claim_data_dir(path, mode=0o700) == path
        assert mode(path) == existing
    assert mode(claim_data_dir(tmp_path / "new", mode=0o700)) == 0o700


@pytest.mark.parametrize("entry", ["of-somebody-else", ".hidden", "postgres"])
def test_a_directory_with_other_things_in_it_is_refused(tmp_path: Path, entry: str) -> None:
    (tmp_path / entry).mkdir()
    before = mode(tmp_path)
    with pytest.raises(UsageError, match="has other things in it"):
        claim_data_dir(tmp_path, mode=0o700)
    assert (names(tmp_path), mode(tmp_path)) == ([entry], before)


@pytest.mark.parametrize(
    "entries", [("kek", "seal-key"), ("users.lock", "of-somebody-else"), ("lost+found",)]
)
def test_a_directory_with_keys_of_ours_or_where_services_ran_is_used(
    tmp_path: Path, entries: tuple[str, ...]
) -> None:
    for entry in entries:
        (tmp_path / entry).touch()
    assert claim_data_dir(tmp_path, mode=0o700) == tmp_path


@pytest.mark.parametrize("existing", [0o1777, 0o777, 0o770, 0o702])
def test_a_directory_that_others_may_write_to_is_refused_and_keeps_its_mode(
    tmp_path: Path, existing: int
) -> None:
    for entry in (None, "users.lock"):
        if entry:
            (tmp_path / entry).touch()
        tmp_path.chmod(existing)
        with pytest.raises(UsageError, match="may write to"):
            claim_data_dir(tmp_path, mode=0o700)
        assert mode(tmp_path) == existing


@AS_ROOT
def test_a_data_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(LocalServiceError, match="belongs to another user"):
        claim_data_dir(tmp_path, mode=0o700)


def test_a_file_or_what_is_below_one_is_refused_as_data_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "x", file / "x" / "y"):
        with pytest.raises(UsageError, match=r"file, or below one") as refused:
            claim_data_dir(path, mode=0o700)
        assert "--data-dir" in str(refused.value.hint)


@pytest.mark.parametrize("name", ["a\nb", "a\x1bb", os.fsdecode(b"a\xff")])
def test_a_directory_whose_name_is_no_text_is_refused_before_it_is_created(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="control characters, or is not UTF-8") as refused:
        claim_data_dir(tmp_path / name, mode=0o700)
    assert name not in refused.value.message
    assert list(tmp_path.iterdir()) == []
    assert claim_data_dir(tmp_path / "Büro\u00a01 x", mode=0o700).is_dir()


def test_a_home_of_nobody_and_a_loop_of_links_are_no_data_directory(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (loop, Path("~nobody-of-that-name/x")):
        with pytest.raises(UsageError, match="can't be"):
            claim_data_dir(whole_data_dir(path), mode=0o700)


async def test_stopping_services_leaves_nothing_where_none_ran(tmp_path: Path) -> None:
    assert not await stop_services(tmp_path)
    assert names(tmp_path) == []


def test_a_private_file_is_private_whatever_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_left_by_a_crash_does_not_stop_the_next_write(tmp_path: Path) -> None:
    (tmp_path / "secret.new").write_text("half")
    write_private(tmp_path / "secret", "whole")
    assert (tmp_path / "secret").read_text() == "whole"


def test_a_large_log_is_rotated_and_a_small_one_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LOG_LIMIT_BYTES", 10)
    log = tmp_path / "x.log"
    log.write_text("small\n")
    for line in (b"and more than ten\n", b"new\n"):
        descriptor = open_log(log)
        os.write(descriptor, line)
        os.close(descriptor)
    assert log.read_text() == "new\n"
    assert (tmp_path / "x.log.1").read_text() == "small\nand more than ten\n"


def test_reading_from_an_offset_returns_the_text_after_it(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before after")
    assert read_from(tmp_path / "log", 7) == "after"
    assert read_from(tmp_path / "none", 7) == ""


def test_folders_become_traversable_by_the_fewest_bits_and_only_where_needed(tmp_path: Path) -> None:
    shut, inside = tmp_path / "shut", tmp_path / "shut" / "open" / "data"
    inside.mkdir(parents=True)
    inside.parent.chmod(0o755)
    inside.chmod(0o700)
    shut.chmod(0o600)
    stranger = pwd.struct_passwd(("stranger", "x", 54321, 54321, "", "/", ""))
    tmp_path_modes = {parent: mode(parent) for parent in tmp_path.parents}
    try:
        assert shut in open_the_way(inside, stranger)
        assert mode(shut) == 0o601
        assert mode(inside.parent) == 0o755
        assert mode(inside) == 0o700
    finally:
        for parent, before in tmp_path_modes.items():
            if mode(parent) != before:
                parent.chmod(before)


def test_users_share_a_lock_and_the_last_one_can_have_it_alone(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as first, FileLock(tmp_path / "lock") as second:
        assert first.try_acquire(exclusive=False)
        assert second.try_acquire(exclusive=False)
        assert not first.try_acquire(exclusive=True)
        second.release()
        assert first.try_acquire(exclusive=True)


async def test_waiting_for_a_lock_can_be_cancelled(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as holder, FileLock(tmp_path / "lock") as waiter:
        holder.try_acquire(exclusive=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await waiter.acquire(exclusive=True)
        holder.release()
        assert await waiter.acquire(exclusive=True) is waiter


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_file_or_what_is_below_one_is_no_data_directory(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="it is a file, or below one"):
        whole_data_dir(tmp_path / "file" / below)
