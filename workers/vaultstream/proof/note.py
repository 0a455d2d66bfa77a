"""Signed notes of https://c2sp.org/signed-note@v1.0.0: a text, an empty line, and one line for each signature.

    example.com/log
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — example.com/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeO…

A key has a name and an id of 4 bytes, SHA-256(name || 0x0A || type || public key)[:4]. Both together say which key a
signature is of. The text means nothing until a known key's signature has been verified: `open_note` is the way to it.

Two choices that the specification leaves open: base64 is accepted in its one canonical form only, so that a note has one
text; and a note has at most 100 signatures and 1 MB, as in golang.org/x/mod/sumdb.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import b2a_base64
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vaultstream.errors import ProofError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
KEY_ID_BYTES = 4
ED25519_KEY_BYTES = 32
_DASH = "— "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID = re.compile("[0-9a-f]{8}")
_PRIVATE = "PRIVATE+KEY+"


class SignatureType(IntEnum):
    """The signature types of the specification that are supported here."""

    ED25519 = 0x01
    COSIGNATURE = 0x04
    """Ed25519 with a time: `vaultstream.proof.cosignature`."""


class NoteVerifier(Protocol):
    """A key whose signatures on notes can be verified."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> bytes: ...

    def verifies(self, text: str, signature: bytes) -> bool:
        """Returns whether the signature, without the key's id, is valid for the text of a note."""


class NoteSigner(Protocol):
    """A key that signs notes."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> bytes: ...

    def sign(self, text: str) -> bytes:
        """Returns the signature for the text of a note, without the key's id."""


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature as it stands in a note, verified or not."""

    name: str
    key_id: bytes
    value: bytes
    """Without the key's id."""

    @property
    def line(self) -> str:
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.value)}\n"

    def is_of(self, key: NoteVerifier | NoteSigner) -> bool:
        """Returns whether it claims to be of that key."""
        return (self.name, self.key_id) == (key.name, key.key_id)


@dataclass(frozen=True, slots=True)
class Note:
    """A note that was opened: at least one of its signatures is of a known key."""

    text: str
    verified: tuple[NoteSignature, ...]
    """One for each known key that signed. Every signature of a known key is valid."""
    unknown: tuple[NoteSignature, ...] = ()
    """Those of other keys. They mean nothing."""

    def is_signed_by(self, key: NoteVerifier) -> bool:
        return any(signature.is_of(key) for signature in self.verified)


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """The public half of an Ed25519 key whose signatures are in notes: what the types of signatures share."""

    kind: ClassVar[SignatureType]

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public) != ED25519_KEY_BYTES:
            raise ProofError(f"The key {self.name!r} has {len(self.public)} bytes, and must have 32.")

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Reads a verifier key: `<name>+<key id>+<base64 of the type and the public key>`.

        Raises:
            ProofError: it is malformed, of another type, or its id is not that of its name and key.
        """
        name, identity, material = _split(vkey, "verifier")
        if not _is_of_type(material, cls.kind):
            raise ProofError(
                f"The verifier key of {name!r} is not of type {cls.kind:#04x} with 32 bytes.",
                hint=_hint_of("verifier"),
            )
        key = cls(name, material[1:])
        if key.key_id.hex() != identity:
            raise ProofError(
                f"The id of the verifier key of {name!r} is not that of its name and key.",
                hint=_hint_of("verifier"),
            )
        return key

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.kind]) + self.public)}"

    @property
    def key_id(self) -> bytes:
        return sha256(b"%b\n%c%b" % (self.name.encode(), self.kind, self.public)).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class NoteKey(Ed25519Key):
    """The public half of an Ed25519 key that signs notes."""

    kind = SignatureType.ED25519

    def verifies(self, text: str, signature: bytes) -> bool:
        return ed25519_verifies(self.public, text.encode(), signature)


@dataclass(frozen=True, slots=True)
class NoteSigningKey:
    """An Ed25519 key that signs notes, with its private half."""

    name: str
    private: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        _check_name(self.name)

    @classmethod
    def parse(cls, skey: str) -> Self:
        """Reads a signer key: `PRIVATE+KEY+<name>+<key id>+<base64 of the type and the private key>`.

        Raises:
            ProofError: it is malformed. The message shows no part of it.
        """
        name, identity, material = _split(skey.removeprefix(_PRIVATE), "signer")
        if not skey.startswith(_PRIVATE) or not _is_of_type(material, SignatureType.ED25519):
            raise ProofError("The signer key is not one of Ed25519.", hint=_hint_of("signer"))
        key = cls(name, Ed25519PrivateKey.from_private_bytes(material[1:]))
        if key.key_id.hex() != identity:
            raise ProofError("The signer key's id is not that of its name and key.", hint=_hint_of("signer"))
        return key

    @property
    def skey(self) -> str:
        """The key as text. It is a secret."""
        material = bytes([SignatureType.ED25519]) + self.private.private_bytes_raw()
        return f"{_PRIVATE}{self.name}+{self.key_id.hex()}+{encode_base64(material)}"

    @property
    def public_key(self) -> NoteKey:
        return NoteKey(self.name, self.private.public_key().public_bytes_raw())

    @property
    def key_id(self) -> bytes:
        return self.public_key.key_id

    def sign(self, text: str) -> bytes:
        return self.private.sign(text.encode())


def parse_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Reads lines of signatures, such as those below a note, or those that a witness answers with.

    Raises:
        ProofError: a line is malformed, there is none, or there are more than 100.
    """
    *parts, rest = lines.split("\n")
    if rest or not parts or _CONTROL.search(lines):
        raise ProofError("The note does not end with lines of signatures.")
    if len(parts) > MAX_SIGNATURES:
        raise ProofError(f"The note has {len(parts)} signatures, and must have at most {MAX_SIGNATURES}.")
    return tuple(map(_parse_signature, parts))


def open_note(data: bytes, known: Iterable[NoteVerifier]) -> Note:
    """Returns the text of a note with the signatures of known keys.

    Signatures of other keys are ignored, also those that share the name or the id of a known key, but not both.

    Raises:
        ProofError: the note is malformed, a signature of a known key is not valid, or no known key signed.
    """
    text, signatures = _split_note(data)
    keys: dict[tuple[str, bytes], NoteVerifier] = {}
    for key in known:
        if keys.setdefault((key.name, key.key_id), key) != key:
            raise ProofError(f"Two known keys have the name {key.name!r} and the id {key.key_id.hex()}.")
    verified: dict[tuple[str, bytes], NoteSignature] = {}
    unknown: dict[NoteSignature, None] = {}
    for signature in signatures:
        identity = signature.name, signature.key_id
        if identity not in keys:
            unknown.setdefault(signature)
            continue
        if not keys[identity].verifies(text, signature.value):
            raise ProofError(
                f"The note's signature by {signature.name!r}, key {signature.key_id.hex()}, is not valid."
            )
        verified.setdefault(identity, signature)
    if not verified:
        raise ProofError(
            f"The note is signed by no known key, but by {_signers_of(unknown)}.",
            hint="Give the key of that id too; `vaultstream log key` prints those of an installation.",
        )
    return Note(text, tuple(verified.values()), tuple(unknown))


def unverified_text(data: bytes) -> str:
    """Returns the text of a note of which no key is known. Whoever wrote the note can have made it up.

    Raises:
        ProofError: the note is malformed.
    """
    text, _ = _split_note(data)
    return text


def sign_note(text: str, *signers: NoteSigner) -> bytes:
    """Returns a note with that text, signed by all signers in their order.

    Raises:
        ProofError: the text can't be that of a note.
    """
    if not text.endswith("\n") or not _is_text(text):
        raise ProofError("The text of a note must end with a newline, and have no control characters.")
    lines = [NoteSignature(signer.name, signer.key_id, signer.sign(text)).line for signer in signers]
    return add_signatures(f"{text}\n".encode(), "".join(lines))


def add_signatures(note: bytes, lines: str) -> bytes:
    """Returns a note with lines of signatures added below, as they are: they are verified when the note is opened.

    Raises:
        ProofError: they are no lines of signatures, or the result is no note.
    """
    parse_signatures(lines)  # an empty line among them would make the signatures above a part of the text
    signed = note + lines.encode()
    _split_note(signed)
    return signed


def encode_base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def decode_base64(text: str) -> bytes | None:
    """Returns the data, or None unless the text is their one canonical base64 (RFC 4648, sections 3.5 and 4)."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if encode_base64(data) == text else None


def ed25519_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Returns whether an Ed25519 signature is valid."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _signers_of(signatures: Iterable[NoteSignature]) -> str:
    """Returns the names and ids of the first keys. The names are from elsewhere, so they are shortened."""
    keys = list(dict.fromkeys(f"{one.name[:100]!r} ({one.key_id.hex()})" for one in signatures))
    return f"{', '.join(keys[:3])}{' and others' if keys[3:] else ''}"


def _split_note(data: bytes) -> tuple[str, tuple[NoteSignature, ...]]:
    """Returns the text of a note and its signatures, none of them verified."""
    if len(data) > MAX_NOTE_BYTES:
        raise ProofError(f"The note has {len(data)} bytes, and must have at most {MAX_NOTE_BYTES}.")
    try:
        note = data.decode()
    except UnicodeDecodeError:
        raise ProofError("The note is not UTF-8.") from None
    if _CONTROL.search(note):
        raise ProofError("The note has control characters.")
    text, gap, lines = note.rpartition("\n\n")
    if not gap:
        raise ProofError("The note has no empty line above its signatures.")
    return f"{text}\n", parse_signatures(lines)


def _parse_signature(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    raw = decode_base64(encoded)
    if not line.startswith(_DASH) or not _is_name(name) or raw is None or len(raw) <= KEY_ID_BYTES:
        raise ProofError("A line of the note's signatures is malformed.")
    return NoteSignature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def _split(key: str, kind: str) -> tuple[str, str, bytes]:
    """Returns the name, the id in hex, and the type and key of a verifier or signer key."""
    name, _, rest = key.partition("+")
    identity, _, encoded = rest.partition("+")
    material = decode_base64(encoded)
    if not _is_name(name) or not _KEY_ID.fullmatch(identity) or not material:
        raise ProofError(f"The {kind} key is malformed.", hint=_hint_of(kind))
    return name, identity, material


def _is_of_type(material: bytes, kind: SignatureType) -> bool:
    return material[0] == kind and len(material) == 1 + ED25519_KEY_BYTES


def _hint_of(kind: str) -> str:
    head = _PRIVATE if kind == "signer" else ""
    return f"A {kind} key is one line, {head}NAME+ID+BASE64, as https://c2sp.org/signed-note describes."


def _is_text(text: str) -> bool:
    """Whether a text may be in a note."""
    return not _CONTROL.search(text) and all(not "\ud800" <= character <= "\udfff" for character in text)


def _is_name(name: str) -> bool:
    """Whether a name may be a key's: not empty, and without pluses and Unicode spaces, which include newlines."""
    return bool(name) and _is_text(name) and not any(one == "+" or one.isspace() for one in name)


def _check_name(name: str) -> None:
    if not _is_name(name):
        raise ProofError(
            f"The key's name {name!r} is empty, or has a space or a plus.",
            hint="Use a name like example.com/log.",
        )
