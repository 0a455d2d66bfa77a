"""Signed notes, with the keys and notes of the specification and of golang.org/x/mod/sumdb/note."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstream.errors import ProofError
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.proof.note import (
    MAX_NOTE_BYTES,
    NoteKey,
    NoteSignature,
    NoteSigningKey,
    SignatureType,
    add_signatures,
    decode_base64,
    encode_base64,
    open_note,
    parse_signatures,
    sign_note,
)

pytestmark = pytest.mark.unit

PETER = NoteKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
PETERS_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH = NoteKey.parse("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
ENOCH_LINE = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""


def note(*lines: str, text: str = TEXT) -> bytes:
    return f"{text}\n{''.join(lines)}".encode()


def vkey(name: str, kind: SignatureType, public: bytes) -> str:
    """Returns the text of a key that may not exist, with its right id."""
    material = bytes([kind]) + public
    identity = sha256(name.encode() + b"\n" + material).hexdigest()[:8]
    return f"{name}+{identity}+{encode_base64(material)}"


def signer(name: str) -> NoteSigningKey:
    return NoteSigningKey(name, Ed25519PrivateKey.generate())


def test_the_note_of_the_specification_is_verified_by_its_key() -> None:
    assert open_note(SPEC_NOTE.encode(), [NoteKey.parse(SPEC_KEY)]).text == "This is an example message.\n"
    with pytest.raises(ProofError, match="not valid"):
        open_note(SPEC_NOTE.replace("an", "no").encode(), [NoteKey.parse(SPEC_KEY)])


def test_a_note_is_signed_as_gos_library_signs_it() -> None:
    key = NoteSigningKey.parse(PETERS_SKEY)
    assert key.public_key == PETER
    assert sign_note(TEXT, key) == note(PETER_LINE)


def test_keys_are_written_as_they_were_read() -> None:
    assert NoteSigningKey.parse(PETERS_SKEY).skey == PETERS_SKEY
    assert NoteKey.parse(SPEC_KEY).vkey == SPEC_KEY
    assert NoteKey.parse(SPEC_KEY).key_id.hex() == "530d903a"


def test_nothing_shows_a_private_key() -> None:
    key = NoteSigningKey.parse(PETERS_SKEY)
    assert PETERS_SKEY.rsplit("+", maxsplit=1)[1] not in repr(key)
    assert key.private.private_bytes_raw().hex() not in repr(key)
    for wrong in (
        PETERS_SKEY[:-1],
        PETERS_SKEY.replace("c74f", "c74e"),
        PETERS_SKEY.removeprefix("PRIVATE+"),
    ):
        with pytest.raises(ProofError) as raised:
            NoteSigningKey.parse(wrong)
        assert "YEKFALVFGyNhPJEMzD1QIDr" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize("key", [PETER.vkey, PETERS_SKEY])
def test_no_part_of_a_key_and_no_altered_key_is_one(key: str) -> None:
    """The manglings of the tests of golang.org/x/mod/sumdb/note."""
    parse = NoteSigningKey.parse if key == PETERS_SKEY else NoteKey.parse
    parts = [key[i:j] for i in range(len(key)) for j in range(i + 1, len(key) + 1) if key[i:j] != key]
    altered = [f"{key[:i]}{chr(ord(key[i]) + 1)}{key[i + 1 :]}" for i in range(len(key))]
    for wrong in (*parts, *altered, key + "A", key + "\n", f" {key}", ""):
        with pytest.raises(ProofError):
            parse(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",  # too long, with a right id
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",  # of an unknown type, with a right id
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",  # an id in capitals
        vkey("PeterNeumann", SignatureType.COSIGNATURE, PETER.public),
        vkey("PeterNeumann", SignatureType.ED25519, PETER.public[:-1]),
        vkey("Peter Neumann", SignatureType.ED25519, PETER.public),
        vkey("Peter\u00a0Neumann", SignatureType.ED25519, PETER.public),
        vkey("", SignatureType.ED25519, PETER.public),
    ],
)
def test_a_verifier_key_that_is_not_one_of_ed25519_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        NoteKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b", "a\u00a0b", "a\u0000b", "a\ud800"])
def test_a_name_that_no_key_may_have_is_refused(name: str) -> None:
    with pytest.raises(ProofError, match="name"):
        NoteKey(name, PETER.public)
    with pytest.raises(ProofError, match="name"):
        CosignerKey(name, PETER.public)
    with pytest.raises(ProofError, match="name"):
        NoteSigningKey(name, Ed25519PrivateKey.generate())


def test_signatures_of_unknown_keys_are_kept_apart() -> None:
    opened = open_note(note(PETER_LINE, ENOCH_LINE), [PETER])
    assert [one.line for one in opened.verified] == [PETER_LINE]
    assert [one.line for one in opened.unknown] == [ENOCH_LINE]
    assert opened.is_signed_by(PETER)
    assert not opened.is_signed_by(ENOCH)
    both = open_note(note(PETER_LINE, ENOCH_LINE), [ENOCH, PETER])
    assert [one.name for one in both.verified] == ["PeterNeumann", "EnochRoot"]


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    with pytest.raises(ProofError, match="no known key") as raised:
        open_note(note(PETER_LINE, ENOCH_LINE), [])
    assert raised.value.message.endswith("by 'PeterNeumann' (c74f20a3), 'EnochRoot' (af0cfe78).")


def test_a_signature_that_shares_the_name_or_the_id_with_a_known_key_is_unknown() -> None:
    [peters] = parse_signatures(PETER_LINE)
    named = NoteSignature("PeterNeumann", b"\0\0\0\0", peters.value)
    numbered = NoteSignature("Other", PETER.key_id, peters.value)
    opened = open_note(note(PETER_LINE, named.line, numbered.line), [PETER])
    assert opened.unknown == (named, numbered)
    with pytest.raises(ProofError, match="no known key"):
        open_note(note(named.line, numbered.line), [PETER])


def test_one_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    [enochs] = parse_signatures(ENOCH_LINE)
    wrong = NoteSignature("EnochRoot", ENOCH.key_id, bytes([enochs.value[0] ^ 1]) + enochs.value[1:])
    for lines in ((PETER_LINE, wrong.line), (ENOCH_LINE, PETER_LINE, wrong.line)):
        with pytest.raises(ProofError, match="'EnochRoot'"):
            open_note(note(*lines), [PETER, ENOCH])
    assert open_note(note(PETER_LINE, wrong.line), [PETER]).unknown == (wrong,)


@pytest.mark.parametrize("value", [b"\1", b"\1" * 63, b"\1" * 65])
def test_a_signature_of_another_length_is_not_valid(value: bytes) -> None:
    with pytest.raises(ProofError, match="not valid"):
        open_note(note(NoteSignature("PeterNeumann", PETER.key_id, value).line), [PETER])


def test_repeated_signatures_count_once() -> None:
    opened = open_note(note(PETER_LINE, PETER_LINE, ENOCH_LINE, ENOCH_LINE), [PETER])
    assert (len(opened.verified), len(opened.unknown)) == (1, 1)


@pytest.mark.parametrize("count", [16, 100])
def test_as_many_signatures_as_the_limit_are_accepted(count: int) -> None:
    keys = [signer(f"key-{number}") for number in range(count)]
    opened = open_note(sign_note(TEXT, *keys), [key.public_key for key in keys])
    assert len(opened.verified) == count


def test_more_signatures_or_bytes_than_the_limit_are_refused() -> None:
    with pytest.raises(ProofError, match="101 signatures"):
        open_note(note(PETER_LINE * 101), [PETER])
    text = "x" * (MAX_NOTE_BYTES - 200) + "\n"
    key = signer("key")
    assert open_note(sign_note(text, key), [key.public_key]).text == text
    with pytest.raises(ProofError, match="bytes"):
        open_note(sign_note(text, key)[:-1] + b" " * 200, [key.public_key])


def test_two_different_keys_with_one_name_and_id_are_refused() -> None:
    class Collision:
        name, key_id = PETER.name, PETER.key_id

        def verifies(self, text: str, signature: bytes) -> bool:
            return True

    with pytest.raises(ProofError, match="Two known keys"):
        open_note(note(PETER_LINE), [PETER, Collision()])
    assert open_note(note(PETER_LINE), [PETER, PETER]).text == TEXT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT.encode(),
        note(),
        note(PETER_LINE[:-1]),
        note("\n", PETER_LINE)[1:-1],
        b"\x01" + note(PETER_LINE),
        note(PETER_LINE, text="tab\there\n"),
        note(PETER_LINE, text="carriage\r\n"),
        b"\xff" + note(PETER_LINE),
        b"\xed\xa0\x80" + note(PETER_LINE),
        note(PETER_LINE, "Unexpected line.\n"),
        note("Unexpected line.\n", PETER_LINE),
        note(PETER_LINE.replace("PeterNeumann", "Bad Name")),
        note(PETER_LINE.replace("PeterNeumann", "Bad+Name")),
        note(PETER_LINE.replace("PeterNeumann", "Bad\u00a0Name")),
        note(PETER_LINE.replace("PeterNeumann ", " ")),
        note(PETER_LINE.replace("— ", "- ")),
        note(PETER_LINE.replace("— ", "—")),
        note(PETER_LINE.replace("x08", "*08")),
        note(PETER_LINE.replace("AM=", "AN=")),  # the same bytes, not in canonical base64
        note(PETER_LINE.replace("AM=", "AM")),
        note(PETER_LINE.replace("AM=\n", "AM= \n")),
        note("— PeterNeumann x08gow==\n"),  # an id without a signature
        note("— PeterNeumann\n"),
        note("— PeterNeumann \n"),
    ],
)
def test_a_malformed_note_is_refused(data: bytes) -> None:
    with pytest.raises(ProofError) as raised:
        open_note(data, [PETER, ENOCH])
    assert "not valid" not in raised.value.message


@pytest.mark.parametrize("text", ["", "abc", "tab\t\n", "\ud800\n", "return\r\n"])
def test_a_text_that_no_note_has_is_not_signed(text: str) -> None:
    with pytest.raises(ProofError, match="text of a note"):
        sign_note(text, signer("key"))
    with pytest.raises(ProofError):
        sign_note(TEXT)


def test_a_text_with_empty_lines_is_told_from_the_signatures() -> None:
    key = signer("key")
    for text in ("a\n\nb\n", "\n", "a\n\n", "\n\n", "— like a signature\n\nb\n"):
        assert open_note(sign_note(text, key), [key.public_key]).text == text


def test_a_signature_is_added_below_the_others() -> None:
    assert add_signatures(note(PETER_LINE), ENOCH_LINE) == note(PETER_LINE, ENOCH_LINE)
    for lines in ("text", "\n", ENOCH_LINE[:-1], f"\n{ENOCH_LINE}"):
        with pytest.raises(ProofError):
            add_signatures(note(PETER_LINE), lines)


@pytest.mark.parametrize("text", ["AB==", "AA", "AA=", "A B=", "AA==\n", "AAAA====", "=", "_-==", "é"])
def test_base64_has_one_form(text: str) -> None:
    assert decode_base64(text) is None
    assert decode_base64(encode_base64(b"\xfb\xff")) == b"\xfb\xff"
