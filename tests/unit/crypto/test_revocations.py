from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaultstream.crypto.revocations import (
    Revocation,
    Revocations,
    RevocationsFile,
    add_revocations,
    load_revocations,
)
from vaultstream.errors import CustodyError

pytestmark = pytest.mark.unit

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


def revocation(name: str, *, reason: str = "") -> Revocation:
    return Revocation.of(name, f"public half of {name}".encode(), at=NOON, reason=reason)


def test_a_missing_file_revokes_nothing(tmp_path: Path) -> None:
    assert load_revocations(tmp_path / "revocations") == Revocations()
    assert RevocationsFile(tmp_path / "revocations").current().find("a", b"") is None


def test_what_is_added_is_read_again_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "revocations"
    first, second = revocation("a", reason='it\'s "stolen"\n'), revocation("b")
    assert add_revocations(path, [first]) == [first]
    assert add_revocations(path, [second]) == [second]
    assert load_revocations(path).entries == (first, second)
    assert len(path.read_text().splitlines()) == 2


def test_a_key_is_found_by_its_id_or_by_its_public_key(tmp_path: Path) -> None:
    revocations = Revocations((revocation("a"),))
    assert revocations.find("a", b"another public key")
    assert revocations.find("another id", b"public half of a")
    assert revocations.find("another id", b"another public key") is None


def test_a_key_that_was_revoked_before_is_not_added_again(tmp_path: Path) -> None:
    path = tmp_path / "revocations"
    add_revocations(path, [revocation("a", reason="first")])
    later = Revocation.of("a", b"", at=NOON + timedelta(days=1), reason="second")
    assert add_revocations(path, [later, revocation("b")]) == [revocation("b")]
    found = load_revocations(path).find("a", b"")
    assert found is not None
    assert found.reason == "first"


@pytest.mark.parametrize("size", [1, 10, -2, -1])
def test_a_torn_last_line_is_ignored_and_makes_room_for_the_next(tmp_path: Path, size: int) -> None:
    """What a process leaves that was killed while writing; with -1, only the line break is missing."""
    path = tmp_path / "revocations"
    add_revocations(path, [revocation("a")])
    whole = path.read_bytes()
    add_revocations(path, [revocation("b")])
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:size])
    known = [revocation("a"), *([revocation("b")] if size == -1 else [])]
    assert load_revocations(path).entries == tuple(known)
    add_revocations(path, [revocation("c")])
    assert load_revocations(path).entries == (*known, revocation("c"))


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "[]",
        '{"key_id": "a"}',
        '{"key_id": "a", "public_key_sha256": "00", "revoked_at": "2030"}',
        f'{{"key_id": "a", "public_key_sha256": "{"0" * 64}", "revoked_at": "9999-12-31T23:59:59-01:00"}}',
    ],
)
def test_a_damaged_line_is_an_error_that_gives_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "revocations"
    add_revocations(path, [revocation("a")])
    whole = path.read_text()
    path.write_text(f"{whole}{line}\n{whole}")
    with pytest.raises(CustodyError, match="Line 2"):
        load_revocations(path)
    with pytest.raises(CustodyError, match="Line 2"):
        add_revocations(path, [revocation("b")])


def test_a_file_that_can_not_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    for reading in (load_revocations, lambda path: RevocationsFile(path).current()):
        with pytest.raises(CustodyError):
            reading(tmp_path)


def test_a_change_of_the_file_is_noticed_and_no_change_costs_no_reading(tmp_path: Path) -> None:
    path = tmp_path / "revocations"
    file = RevocationsFile(path)
    missing = file.current()
    assert missing.entries == ()
    assert file.current() is missing
    add_revocations(path, [revocation("a")])
    one = file.current()
    assert one.entries == (revocation("a"),)
    assert file.current() is one
    add_revocations(path, [revocation("b")])
    assert len(file.current().entries) == 2
    path.unlink()
    assert file.current().entries == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"<html>404 not found</html>",
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: line + b"\r" + line,
        lambda line: b"[" + line + b"]",
        lambda line: line.replace(b",", b";", 1)[:-1],
        lambda line: line + b"}",
        lambda line: line.replace(b'_sha256":"', b'_sha256":"A', 1),
    ],
)
def test_a_file_of_one_damaged_line_without_an_end_revokes_not_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Only the beginning of a line of ours is what a killed writer leaves."""
    path = tmp_path / "revocations"
    add_revocations(path, [revocation("a")])
    path.write_bytes(damage(path.read_bytes().rstrip(b"\n")))
    with pytest.raises(CustodyError, match="Line 1"):
        load_revocations(path)


def _add(path: Path, number: int) -> None:
    for n in range(20):
        add_revocations(path, [revocation(f"{number}-{n}"), revocation(f"shared-{n}")])


def test_concurrent_writers_lose_nothing_and_write_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "revocations"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add, args=(path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    ids = [entry.key_id for entry in load_revocations(path).entries]
    assert len(ids) == len(set(ids)) == 4 * 20 + 20


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_can_not_be_written_is_an_error_before_anything_is_revoked(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CustodyError, match="Nothing was revoked"):
        add_revocations(tmp_path / "revocations", [revocation("a")])


@given(ids=st.lists(st.text(max_size=30), max_size=8), cut=st.integers(0, 2000))
@example(ids=["}"], cut=2)
@example(ids=['"}'], cut=150)
def test_whatever_is_cut_off_the_end_the_rest_is_read(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("file") / "revocations"
    added = add_revocations(path, [revocation(key_id) for key_id in ids])
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)])
    read = load_revocations(path).entries
    assert read == tuple(added[: len(read)])
    assert len(read) >= path.read_bytes().count(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to somebody else")
@pytest.mark.parametrize("what", ["file", "link"])
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, what: str) -> None:
    real = tmp_path / "real"
    add_revocations(real, [])
    link = tmp_path / "link"
    link.symlink_to(real)
    assert load_revocations(link).entries == ()
    os.chown(real if what == "file" else link, 12345, 12345, follow_symlinks=False)
    for attempt in (
        lambda: load_revocations(link),
        lambda: RevocationsFile(link).current(),
        lambda: add_revocations(link, []),
    ):
        with pytest.raises(CustodyError, match="belongs to another user"):
            attempt()


def test_a_file_that_everyone_may_write_is_refused_also_once_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "revocations"
    add_revocations(path, [])
    file = RevocationsFile(path)
    assert file.current().entries == ()
    path.chmod(0o666)
    for attempt in (file.current, lambda: load_revocations(path), lambda: add_revocations(path, [])):
        with pytest.raises(CustodyError, match="every user") as caught:
            attempt()
        assert "chmod o-w" in (caught.value.hint or "")


def test_a_pipe_in_the_place_of_the_file_is_refused_and_waited_for_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "revocations"
    os.mkfifo(path)
    for attempt in (lambda: load_revocations(path), lambda: RevocationsFile(path).current()):
        with pytest.raises(CustodyError, match="not a regular file"):
            attempt()
