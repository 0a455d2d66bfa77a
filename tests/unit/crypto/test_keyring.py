from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vaultstream.crypto.keyring import (
    KeyEncryptionKey,
    KeyRing,
    create_keyring,
    load_keyring,
    new_keyring,
    parse_keyring,
    prune_keyring,
    rotate_keyring,
)
from vaultstream.errors import CustodyError

pytestmark = pytest.mark.unit

ROTATE = """
import sys
from pathlib import Path
from vaultstream.crypto.keyring import rotate_keyring
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    print(rotate_keyring(Path(sys.argv[1])).primary.kek_id)
"""


ROTATE_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from vaultstream.crypto.keyring import rotate_keyring
from vaultstream.errors import CustodyError
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))
try:
    rotate_keyring(Path(sys.argv[1]))
except CustodyError as error:
    print(error.message)
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def line_of(kek: KeyEncryptionKey) -> str:
    return f"{kek.kek_id} {b64encode(kek.secret).decode()}"


def a_file(path: Path, *lines: str, mode: int = 0o600) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kek"


def test_a_new_ring_is_for_its_owner_only_and_reads_back(path: Path) -> None:
    made = create_keyring(path)
    assert mode_of(path) == 0o600
    assert load_keyring(path) == made
    assert len(made.ids) == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_new_ring_makes_its_folder_private(tmp_path: Path) -> None:
    create_keyring(tmp_path / "new" / "kek")
    assert mode_of(tmp_path / "new") == 0o700


def test_a_ring_is_never_overwritten(path: Path) -> None:
    made = create_keyring(path)
    with pytest.raises(CustodyError, match="never overwritten") as refused:
        create_keyring(path)
    assert refused.value.hint
    assert load_keyring(path) == made
    assert list(path.parent.iterdir()) == [path]


def test_of_many_concurrent_creators_one_creates_the_ring(path: Path) -> None:
    def create(_: int) -> KeyRing | None:
        try:
            return create_keyring(path)
        except CustodyError:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [ring for ring in pool.map(create, range(8)) if ring]
    assert made == [load_keyring(path)]


def test_a_key_encryption_key_has_the_same_id_wherever_it_is_named() -> None:
    assert KeyEncryptionKey.from_secret(bytes(range(32))).kek_id == "kek-417c62324798"
    assert KeyEncryptionKey.generate().kek_id != KeyEncryptionKey.generate().kek_id


def test_no_representation_shows_a_secret() -> None:
    kek = KeyEncryptionKey.from_secret(b"S" * 32)
    for text in (repr(kek), str(kek), f"{kek}", repr(KeyRing((kek,))), f"{[kek]}"):
        assert kek.kek_id in text
        assert "SSS" not in text


def test_a_ring_can_go_to_another_process() -> None:
    ring = KeyRing((KeyEncryptionKey.generate(),))
    assert pickle.loads(pickle.dumps(ring)) == ring


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_key_encryption_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KeyEncryptionKey.from_secret(bytes(length))


def test_the_first_line_wraps_and_all_unwrap(path: Path) -> None:
    first, second = KeyEncryptionKey.generate(), KeyEncryptionKey.generate()
    ring = load_keyring(a_file(path, "# größte Vorsicht", "", f"  {line_of(first)}\r", line_of(second), ""))
    assert ring.primary == first
    assert ring.ids == (first.kek_id, second.kek_id)
    assert ring.get(second.kek_id) == second


def test_the_error_for_an_unknown_id_lists_the_known_ids() -> None:
    kek = KeyEncryptionKey.generate()
    with pytest.raises(
        CustodyError, match=f"kek-000000000000 is not in the file, which has {kek.kek_id}"
    ) as refused:
        KeyRing((kek,)).get("kek-000000000000")
    assert refused.value.hint


def test_the_error_for_a_missing_file_says_how_to_create_one(path: Path) -> None:
    with pytest.raises(CustodyError, match="There is no file") as refused:
        load_keyring(path)
    assert refused.value.hint
    assert "vaultstream keys init" in refused.value.hint


def test_a_file_that_can_not_be_read_is_an_error_of_custody(tmp_path: Path) -> None:
    with pytest.raises(CustodyError, match="can't be read: Is a directory"):
        load_keyring(tmp_path)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666])
def test_a_file_open_to_every_user_is_refused(path: Path, mode: int) -> None:
    create_keyring(path)
    path.chmod(mode)
    with pytest.raises(CustodyError, match="open to every user") as refused:
        load_keyring(path)
    assert refused.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_file_that_its_group_may_read_is_accepted(path: Path, mode: int) -> None:
    made = create_keyring(path)
    path.chmod(mode)
    assert load_keyring(path) == made


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[:-5],
        lambda line: line[17:],
        lambda line: line[:16],
        lambda line: line + "A",
        lambda line: line + " more",
        lambda line: line.replace("kek-", "kex-"),
        lambda line: line[:17] + ("B" if line[17] == "A" else "A") + line[18:],
        lambda line: line[:17] + "*" + line[18:],
    ],
    ids=["cut", "no id", "no key", "longer", "a third word", "no such id", "another key", "no base64"],
)
def test_a_damaged_line_is_named_by_number_and_never_shown(path: Path, damage: Callable[[str], str]) -> None:
    good, bad = KeyEncryptionKey.generate(), line_of(KeyEncryptionKey.generate())
    a_file(path, "# one", line_of(good), damage(bad))
    with pytest.raises(CustodyError, match="Line 3 of") as refused:
        load_keyring(path)
    told = f"{refused.value.message} {refused.value.hint}"
    assert not any(bad[start : start + 8] in told for start in range(17, len(bad) - 8))
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("lines", [[], ["# nothing but a comment"]])
def test_a_file_without_a_key_is_refused(path: Path, lines: list[str]) -> None:
    with pytest.raises(CustodyError, match="has no key-encryption key"):
        load_keyring(a_file(path, *lines))
    with pytest.raises(CustodyError, match="has no key-encryption key"):
        rotate_keyring(path)


def test_a_rotation_adds_a_primary_and_keeps_the_others(path: Path) -> None:
    first = create_keyring(path)
    second = rotate_keyring(path)
    third = rotate_keyring(path)
    assert load_keyring(path) == third
    assert third.keks[1:] == second.keks
    assert second.keks[1:] == first.keks
    assert mode_of(path) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_rotation_keeps_comments_and_the_groups_access(path: Path) -> None:
    kek = KeyEncryptionKey.generate()
    a_file(path, "# ours, größte Vorsicht", line_of(kek), "# the end", mode=0o640)
    primary = rotate_keyring(path).primary
    expected = ["# ours, größte Vorsicht", line_of(primary), line_of(kek), "# the end"]
    assert path.read_text(encoding="utf-8").splitlines() == expected
    assert mode_of(path) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_rotation_keeps_the_files_owner(path: Path) -> None:
    create_keyring(path)
    os.chown(path, 65534, 65533)
    rotate_keyring(path)
    assert (path.stat().st_uid, path.stat().st_gid, mode_of(path)) == (65534, 65533, 0o600)


def test_a_rotation_through_a_link_changes_the_file_behind_it(path: Path, tmp_path: Path) -> None:
    create_keyring(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    rotated = rotate_keyring(link)
    assert link.is_symlink()
    assert load_keyring(path) == rotated


def test_a_rotation_clears_away_what_a_killed_one_left(path: Path) -> None:
    create_keyring(path)
    (path.parent / f".{path.name}.new").write_text("half a li")
    assert len(rotate_keyring(path).ids) == 2
    assert list(path.parent.iterdir()) == [path]


def test_a_rotation_of_a_damaged_file_leaves_it_as_it_is(path: Path) -> None:
    a_file(path, line_of(KeyEncryptionKey.generate()), "damaged")
    before = path.read_bytes()
    with pytest.raises(CustodyError, match="Line 2"):
        rotate_keyring(path)
    assert path.read_bytes() == before


def test_a_rotation_that_can_not_be_written_leaves_the_file_as_it_is(path: Path) -> None:
    create_keyring(path)
    before = path.read_bytes()
    failed = subprocess.run(
        [sys.executable, "-c", ROTATE_WITHOUT_ROOM, str(path)], capture_output=True, text=True, check=False
    )
    assert "can't be changed: File too large" in failed.stdout
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_two_processes_that_rotate_at_once_lose_no_key(path: Path) -> None:
    original = create_keyring(path).primary.kek_id
    rotations = 25
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ROTATE, str(path), str(rotations)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    made = [process.communicate(timeout=60)[0].split() for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    ring = load_keyring(path)
    assert set(ring.ids) == {original, *made[0], *made[1]}
    assert len(ring.ids) == 1 + 2 * rotations


def test_a_reader_sees_a_whole_file_while_it_rotates(path: Path) -> None:
    original = create_keyring(path).primary
    with ThreadPoolExecutor(1) as pool:
        rotating = pool.submit(lambda: [rotate_keyring(path) for _ in range(50)])
        seen = []
        while not rotating.done():
            seen.append(len(load_keyring(path).ids))
            assert load_keyring(path).get(original.kek_id) == original
    assert seen == sorted(seen)
    assert rotating.result()[-1] == load_keyring(path)


def test_pruning_drops_what_is_not_kept_but_never_the_primary(path: Path) -> None:
    create_keyring(path)
    rotate_keyring(path)
    third, second, first = rotate_keyring(path).ids
    assert prune_keyring(path, {first}).ids == (third, first)
    assert load_keyring(path).ids == (third, first)
    assert prune_keyring(path, set()).ids == (third,)
    assert prune_keyring(path, {second}).ids == (third,)
    assert load_keyring(path).ids == (third,)


def test_a_ring_without_a_file_is_read_as_one_with_it(tmp_path: Path) -> None:
    content = new_keyring()
    file = tmp_path / "kek"
    file.write_bytes(content)
    file.chmod(0o600)
    assert parse_keyring(content, "Secret a/kek") == load_keyring(file)
    assert parse_keyring(new_keyring(), "Secret a/kek").ids != load_keyring(file).ids
    with pytest.raises(CustodyError, match="Line 2 of Secret a/kek"):
        parse_keyring(content.splitlines(keepends=True)[0] + b"kek-1 x\n", "Secret a/kek")
