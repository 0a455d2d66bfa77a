"""What a user names for output is written, and nothing about it is changed but its content."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.embedded import AS_ROOT
from vaultstream.errors import OutputError, UsageError
from vaultstream.importing.rejects import Reject, RejectFile
from vaultstream.output_file import open_output, write_output

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def write(path: Path) -> None:
    await write_output(path, b"new")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def list_reject(path: Path) -> None:
    with RejectFile(path) as rejects:
        rejects.add([Reject(7, "has no id", ",b")])


def as_nobody(body: Callable[[], None]) -> None:
    """Runs a function in a process of an ordinary user, and fails if it does."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            body()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        await write(tmp_path / "out")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "out"), (tmp_path / "out").read_bytes()) == (0o640, b"new")


@pytest.mark.parametrize("existing", [0o600, 0o640, 0o666, 0o755])
async def test_a_file_that_exists_keeps_its_mode(tmp_path: Path, existing: int) -> None:
    for name, fill in (("out", write), ("listed", None)):
        path = tmp_path / name
        path.write_text("old")
        path.chmod(existing)
        if fill:
            await fill(path)
        else:
            list_reject(path)
        assert mode(path) == existing
        assert path.read_text() != "old"
    assert names(tmp_path) == ["listed", "out"]


@AS_ROOT
async def test_a_file_that_exists_keeps_its_owner(tmp_path: Path) -> None:
    for name in ("out", "listed"):
        (tmp_path / name).write_text("old")
        os.chown(tmp_path / name, 12345, 54321)
    await write(tmp_path / "out")
    list_reject(tmp_path / "listed")
    for name in ("out", "listed"):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid) == (12345, 54321)


async def test_what_fails_leaves_the_former_content(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    async def fail() -> None:
        async with open_output(path) as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("target", ["real", "folder/real", "not-there-yet"])
async def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    if target != "not-there-yet":
        (tmp_path / target).write_text("old, and longer")
    (tmp_path / "link").symlink_to(target)
    await write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / target).read_bytes() == b"new"
    list_reject(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / target).read_text().startswith('{"line": 7, ')


@pytest.mark.parametrize("mode_of_it", [0o644, 0o444])
def test_a_file_named_for_rejects_is_untouched_if_no_line_is_rejected(
    tmp_path: Path, mode_of_it: int
) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "mine").chmod(mode_of_it)
    (tmp_path / "link").symlink_to("mine")
    for name in ("mine", "link"):
        with RejectFile(tmp_path / name):
            pass
    assert (names(tmp_path), (tmp_path / "mine").read_text()) == (["link", "mine"], "precious")


def test_a_list_of_an_earlier_import_is_removed_by_one_that_has_none(tmp_path: Path) -> None:
    (tmp_path / "in.csv.rejected.jsonl").write_text("old")
    with RejectFile(tmp_path / "in.csv.rejected.jsonl", named=False):
        pass
    assert names(tmp_path) == []


def test_a_full_disk_is_reported_for_the_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="list of rejected lines can't be written to /dev/full"):
        list_reject(Path("/dev/full"))
    assert names(tmp_path) == []


async def test_a_pipe_is_written_to_once_it_has_a_reader(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = asyncio.create_task(write_output(pipe, b"new" * 100_000))
    with (tmp_path / "received").open("wb") as received:
        reader = await asyncio.create_subprocess_exec("cat", str(pipe), stdout=received)
    await asyncio.gather(writing, reader.wait())
    assert (tmp_path / "received").read_bytes() == b"new" * 100_000
    assert pipe.is_fifo()


async def test_a_pipe_whose_reader_left_is_reported(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    async def write_after_it_left() -> None:
        async with open_output(pipe) as stream:
            os.close(reader)
            stream.write(b"x" * 100_000)

    with pytest.raises(OutputError, match="nobody reads it"):
        await write_after_it_left()
    assert pipe.is_fifo()


def test_rejects_are_not_listed_in_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"can't be written .* nobody reads this pipe") as refused:
        list_reject(tmp_path / "pipe")
    assert "Start its reader before the import" in (refused.value.hint or "")
    assert (tmp_path / "pipe").is_fifo()


@AS_ROOT
async def test_a_device_is_written_to(tmp_path: Path) -> None:
    device = tmp_path / "null"
    os.mknod(device, 0o640 | stat.S_IFCHR, os.makedev(1, 3))
    before = device.stat()
    await write(device)
    list_reject(device)
    (tmp_path / "link").symlink_to(device)
    await write(tmp_path / "link")
    after = device.stat()
    assert (after.st_mode, after.st_rdev, after.st_ino) == (before.st_mode, before.st_rdev, before.st_ino)


async def test_what_can_not_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "none" / "out", tmp_path / ("x" * 300), tmp_path / "loop"):
        with pytest.raises(UsageError):
            await write(path)


async def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("売" * 85)
    await write(path)
    assert path.read_bytes() == b"new"


def test_no_list_is_needed_where_no_line_is_rejected(tmp_path: Path) -> None:
    with RejectFile(tmp_path / ("x" * 300)) as rejects:
        assert rejects.count == 0
    with pytest.raises(UsageError, match="can't be written") as refused:
        list_reject(tmp_path / ("x" * 300))
    assert "--rejects" in str(refused.value.hint)


@AS_ROOT
def test_an_ordinary_user_replaces_no_file_that_is_only_for_reading(tmp_path: Path) -> None:
    for parent in tmp_path.parents[:2]:
        parent.chmod(mode(parent) | 0o001)
    tmp_path.chmod(0o777)
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o444)

    def replace() -> None:
        with pytest.raises(UsageError, match="read-only"):
            asyncio.run(write(path))

    as_nobody(replace)
    assert path.read_text() == "old"


@AS_ROOT
def test_an_ordinary_user_needs_no_list_in_a_folder_that_is_only_for_reading(tmp_path: Path) -> None:
    for parent in tmp_path.parents[:2]:
        parent.chmod(mode(parent) | 0o001)
    tmp_path.chmod(0o555)
    (tmp_path / "listed").write_text("of an earlier import")

    def import_nothing() -> None:
        with RejectFile(tmp_path / "listed"):
            pass
        with pytest.raises(UsageError, match="can't be written"):
            list_reject(tmp_path / "new")

    as_nobody(import_nothing)


@AS_ROOT
def test_an_ordinary_user_is_told_why_a_file_of_its_own_needs_a_folder_that_it_may_write(
    tmp_path: Path,
) -> None:
    for parent in tmp_path.parents[:2]:
        parent.chmod(mode(parent) | 0o001)
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o666)
    tmp_path.chmod(0o555)

    def replace() -> None:
        with pytest.raises(UsageError, match=f"no file can be created in {tmp_path}") as refused:
            asyncio.run(write(path))
        assert "another folder" in str(refused.value.hint)

    as_nobody(replace)
    assert path.read_text() == "old"
