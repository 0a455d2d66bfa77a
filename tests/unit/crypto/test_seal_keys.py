from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vaultstream.crypto.seal_keys import (
    SealKeys,
    create_seal_keys,
    load_seal_keys,
    new_seal_keys,
    parse_seal_keys,
    parse_verifier_keys,
    rotate_seal_keys,
)
from vaultstream.errors import CustodyError, UsageError, VaultStreamError
from vaultstream.proof.note import open_note, sign_note

pytestmark = pytest.mark.unit

NAME = "example.com/sign"
ROTATE = """
import sys
from pathlib import Path
from vaultstream.crypto.seal_keys import rotate_seal_keys
for _ in range(int(sys.argv[2])):
    print(rotate_seal_keys(Path(sys.argv[1])).signing.public_key.vkey)
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def secret_of(keys: SealKeys) -> str:
    return keys.signing.skey.split("+", 4)[4]  # base64 may have plus signs of its own


def shown(error: VaultStreamError) -> str:
    return f"{error.message} {error.hint}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "seal-key"


def test_a_new_key_is_for_its_owner_only_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "seal-key"
    made = create_seal_keys(path, NAME)
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    assert made.origin == NAME
    assert load_seal_keys(path).known == made.known == (made.signing.public_key,)
    assert path.read_text() == f"{made.signing.skey}\n", "the form that Go's note library reads"


def test_keys_without_a_name_have_names_of_their_own(tmp_path: Path) -> None:
    first, second = (create_seal_keys(tmp_path / name) for name in ("one", "two"))
    assert first.origin.startswith("vaultstream-")
    assert first.origin != second.origin


@pytest.mark.parametrize("name", ["a b", "a+b", "/a", "größe", "a\n", "a" * 201])
def test_a_name_that_can_not_be_an_origin_is_refused(path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="can't be the origin"):
        create_seal_keys(path, name)
    assert not path.exists()


def test_a_key_is_never_overwritten(path: Path) -> None:
    made = create_seal_keys(path)
    with pytest.raises(CustodyError, match="never overwritten"):
        create_seal_keys(path)
    assert load_seal_keys(path).known == made.known


def test_a_rotation_keeps_the_name_and_the_public_halves_of_former_keys(path: Path) -> None:
    first = create_seal_keys(path, NAME)
    path.chmod(0o640)
    second = rotate_seal_keys(path)
    third = rotate_seal_keys(path)
    assert load_seal_keys(path).known == third.known
    assert third.known[1:] == second.known
    assert second.known[1:] == first.known
    assert {key.name for key in third.known} == {NAME}
    assert mode_of(path) == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_rotation_removes_the_former_private_half(path: Path) -> None:
    former = create_seal_keys(path)
    rotate_seal_keys(path)
    text = path.read_text()
    assert secret_of(former) not in text
    assert text.count("PRIVATE+KEY+") == 1


def test_what_a_former_key_signed_is_still_verified(path: Path) -> None:
    signed = sign_note("a text\n", create_seal_keys(path).signing)
    assert open_note(signed, rotate_seal_keys(path).known).text == "a text\n"


def test_a_rotation_keeps_comments(path: Path) -> None:
    keys = create_seal_keys(path)
    path.write_text(f"# größte Vorsicht\n\n  {keys.signing.skey}\r\n# the end\n", encoding="utf-8")
    after = rotate_seal_keys(path)
    expected = ["# größte Vorsicht", "", after.signing.skey, keys.signing.public_key.vkey, "# the end"]
    assert path.read_text(encoding="utf-8").splitlines() == expected


def test_two_processes_that_rotate_at_once_lose_no_key(path: Path) -> None:
    original = create_seal_keys(path).signing.public_key.vkey
    command = [sys.executable, "-c", ROTATE, str(path), "5"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    made = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert {key.vkey for key in load_seal_keys(path).known} == {original, *made[0], *made[1]}


def test_a_reader_sees_a_whole_file_while_it_rotates(path: Path) -> None:
    original = create_seal_keys(path).signing.public_key
    with ThreadPoolExecutor(1) as pool:
        rotating = pool.submit(lambda: [rotate_seal_keys(path) for _ in range(30)])
        seen = []
        while not rotating.done():
            known = load_seal_keys(path).known
            assert known[-1] == original
            seen.append(len(known))
    assert seen == sorted(seen)
    assert rotating.result()[-1].known == load_seal_keys(path).known


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666])
def test_a_file_open_to_every_user_is_refused(path: Path, mode: int) -> None:
    create_seal_keys(path)
    path.chmod(mode)
    with pytest.raises(CustodyError, match=r"file of seal keys .* open to every user") as refused:
        load_seal_keys(path)
    assert refused.value.hint == f"chmod 600 {path}"
    with pytest.raises(CustodyError, match="open to every user"):
        rotate_seal_keys(path)


def test_the_error_for_a_missing_file_says_how_to_create_one(path: Path) -> None:
    with pytest.raises(CustodyError, match="There is no file of seal keys") as refused:
        load_seal_keys(path)
    assert "vaultstream seal-key create" in str(refused.value.hint)


@pytest.mark.parametrize("content", ["", "# nothing but a comment\n"])
def test_a_file_without_a_key_is_refused(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(CustodyError, match="has no seal key"):
        load_seal_keys(path)
    with pytest.raises(CustodyError, match="has no seal key"):
        rotate_seal_keys(path)
    assert path.read_text() == content


@pytest.mark.parametrize("damage", ["cut", "other id", "no prefix", "twice"])
def test_a_damaged_signing_key_is_named_by_line_and_never_shown(damage: str) -> None:
    skey = parse_seal_keys(new_seal_keys(NAME), "here").signing.skey
    _, _, _, identity, secret = skey.split("+", 4)
    damaged = {
        "cut": skey[:-4],
        "other id": skey.replace(identity, "00000000"),
        "no prefix": skey.removeprefix("PRIVATE+KEY+"),
        "twice": skey + skey,
    }[damage]
    with pytest.raises(CustodyError, match="Line 2 of Secret a/seal") as refused:
        parse_seal_keys(f"# ours\n{damaged}\n".encode(), "Secret a/seal")
    told = shown(refused.value)
    assert not any(secret[start : start + 8] in told for start in range(len(secret) - 8))
    assert refused.value.__cause__ is None


def test_a_second_private_key_is_refused_and_never_shown() -> None:
    content = new_seal_keys(NAME) + new_seal_keys(NAME)
    with pytest.raises(CustodyError, match="Line 2 of here is not the verifier key") as refused:
        parse_seal_keys(content, "here")
    assert content.decode().splitlines()[1].split("+", 4)[4] not in shown(refused.value)


def test_a_former_key_of_another_name_is_refused() -> None:
    other = parse_seal_keys(new_seal_keys("other"), "there").signing.public_key.vkey
    with pytest.raises(CustodyError, match="Line 2 of here has the key of another installation"):
        parse_seal_keys(new_seal_keys(NAME) + f"{other}\n".encode(), "here")


def test_no_representation_shows_a_secret() -> None:
    keys = parse_seal_keys(new_seal_keys(NAME), "here")
    for text in (repr(keys), str(keys), f"{keys}", f"{[keys]}"):
        assert NAME in text
        assert secret_of(keys) not in text


def test_trusted_keys_are_given_as_text_or_as_a_file(tmp_path: Path) -> None:
    keys = rotate_seal_keys_of(tmp_path)
    assert parse_verifier_keys(keys.known[0].vkey) == keys.known[:1]
    file = tmp_path / "trusted"
    file.write_text("# ours\n\n" + "\n".join(key.vkey for key in keys.known))
    assert parse_verifier_keys(str(file)) == keys.known


@pytest.mark.parametrize(
    ("content", "why"),
    [("", "has no verifier key"), ("# ours\nkey\n", "Line 2 of .* is not a verifier key")],
)
def test_a_file_without_trusted_keys_is_refused(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "trusted"
    file.write_text(content)
    with pytest.raises(UsageError, match=why):
        parse_verifier_keys(str(file))


def test_trusted_keys_that_are_neither_text_nor_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read: No such file"):
        parse_verifier_keys(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="is not a verifier key of Ed25519"):
        parse_verifier_keys("example.com+01020304+AQID")


@pytest.mark.parametrize("as_file", [False, True])
def test_a_private_half_is_not_taken_for_a_trusted_key_and_not_shown(
    tmp_path: Path, *, as_file: bool
) -> None:
    keys = create_seal_keys(tmp_path / "seal-key")
    with pytest.raises(UsageError, match="the secret half") as refused:
        parse_verifier_keys(str(tmp_path / "seal-key") if as_file else keys.signing.skey)
    assert secret_of(keys) not in shown(refused.value)


def rotate_seal_keys_of(folder: Path) -> SealKeys:
    create_seal_keys(folder / "seal-key")
    return rotate_seal_keys(folder / "seal-key")
