"""Multi-buffer signing: eight ECDSA signatures on P-256 at a time, where the processor has AVX-512 IFMA.

Whether it is used is decided once in a process: if the extension is built, the processor has the instructions, the setting
VAULTSTREAM_MULTIBUFFER is not `off`, and a self-test passes. Else `cryptography` signs, with the same bytes in the table.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from itertools import accumulate
from logging import getLogger
from typing import Final, Never, Protocol, cast

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.crypto.rows import Rows, pack
from vaultstream.proof.merkle import tree_root
from vaultstream.proof.statement import record_hashes

_VARIABLE = "VAULTSTREAM_MULTIBUFFER"
_EXTENSION: Final = "vaultstream.crypto._multibuffer"

LEAST_WIDTH = 105
"""The width of a row for the longest signature."""

_log = getLogger(__name__)


class NativeKey(Protocol):
    """A private key in the extension."""

    def __reduce__(self) -> Never: ...


class Multibuffer(Protocol):
    """The native extension. It keeps nothing of a call for the next one, and releases the GIL while it computes."""

    table_least: int
    """So many signatures by one key are verified with a table."""

    def Key(self, scalar: bytes | bytearray | memoryview, /) -> NativeKey:  # noqa: N802 - a class
        """A private key of P-256, made of its scalar: 32 bytes, big-endian.

        It is in memory that is wiped with it, and that is neither swapped nor dumped where the kernel allows it. It can't be
        read, pickled or copied. A scalar that is not from 1 to n - 1 is a ValueError.
        """

    def Ed25519Key(  # noqa: N802 - a class
        self, seed: bytes | bytearray | memoryview, public_key: bytes, /
    ) -> NativeKey:
        """A private key of Ed25519, made of its seed of 32 bytes, kept like a `Key`.

        Its public key is given, because to sign with a wrong one reveals the seed. If a lane of the library computes another
        one, it is a ValueError.
        """

    def sign(
        self,
        keys: Sequence[NativeKey],
        counts: Sequence[int],
        payloads: Sequence[bytes],
        messages: Sequence[bytes] | None,
        width: int,
        /,
    ) -> bytes:
        """Signs payloads eight at a time, with ECDSA on P-256 and SHA-256 or with Ed25519.

        Args:
            keys: the first `counts[0]` payloads are signed by `keys[0]`, the next `counts[1]` by `keys[1]`, and so on. All
                are a `Key` or all are an `Ed25519Key`.
            counts: as many as there are keys; their sum is the number of payloads.
            payloads: what is hashed, and signed unless there are messages.
            messages: what is signed in place of each payload.
            width: bytes of a row: 105 to 65536, or from 98 with Ed25519.

        Returns:
            One row for each payload: SHA-256 of the payload (32 bytes), the length of the signature (2 bytes, big-endian),
            the signature (DER with a low s, or the 64 bytes of Ed25519), and zeros.

        Raises:
            RuntimeError: the operating system gave no randomness, or the library failed in one of its lanes.
            TypeError: a key is of another type, or a payload or a message is no `bytes` object.
            ValueError: the numbers of arguments do not fit, or the width is out of range.
        """

    def verify(
        self,
        points: Sequence[bytes],
        counts: Sequence[int],
        digests: Sequence[bytes],
        signatures: Sequence[bytes],
        /,
    ) -> bytes:
        """Verifies signatures over SHA-256 digests, eight at a time, as strictly as `vaultstream.crypto.algorithms.verifier`.

        For `table_least` signatures or more by one key, in succession, it makes a table of multiples of the key first, with which a
        signature costs half as much, or a fifth of many. That is code of our own; for fewer ones the library verifies.

        Args:
            points: public keys, uncompressed: 65 bytes. The first `counts[0]` signatures are by `points[0]`, and so on.
            counts: as many as there are points; their sum is the number of signatures.
            digests: what was signed. One that does not have 32 bytes has no valid signature.
            signatures: DER with a low s.

        Returns:
            A byte for each signature: 1 if it is valid, else 0. A 0 is not the last word: see `verify_digests`.

        Raises:
            RuntimeError: the library failed in one of its lanes.
            ValueError: the numbers of arguments do not fit, or a point is not on the curve.
        """

    def verify_ed25519(
        self,
        keys: Sequence[bytes],
        counts: Sequence[int],
        messages: Sequence[bytes],
        signatures: Sequence[bytes],
        /,
    ) -> bytes:
        """Verifies signatures of Ed25519, like `verify`. Public keys have 32 bytes; one of small order is not looked for."""

    def roots(
        self, ids: Sequence[Sequence[int | str | bytes]], rows: Sequence[bytes | bytearray], width: int, /
    ) -> list[bytes]:
        """Returns the root of each batch in packed rows, as `vaultstream.proof` computes it from `record_leaf`.

        Args:
            ids: the ids of each batch: integers of 64 bits, or text, or its UTF-8.
            rows: what `sign` returned for each batch, or rows of another algorithm in that form.
            width: bytes of a row.

        Raises:
            ValueError: a batch has another number of rows than of ids, or a row is malformed.
        """

    def root(
        self, ids: Sequence[int | str | bytes], digests: Sequence[bytes], signatures: Sequence[bytes], /
    ) -> bytes:
        """Returns the root of one batch, whose digests and signatures can have any length. The lists are parallel."""

    def any_begins(self, payloads: Sequence[bytes], prefix: bytes, /) -> bool:
        """Returns whether one of the payloads begins with a prefix."""

    def sha256(self, payloads: Sequence[bytes], /) -> list[bytes]:
        """Returns the SHA-256 of each payload, with the processor's instructions for it where there are some."""

    def known_answer(self, scalar: bytes, nonce: bytes, digest: bytes, /) -> bytes:
        """Returns the signature over a digest with a given nonce, for tests with known answers alone.

        Raises:
            RuntimeError: the library failed in one of its lanes, or they differ.
            ValueError: an argument does not have 32 bytes, or the scalar or the nonce is not from 1 to n - 1.
        """

    def applicable(self) -> bool:
        """Whether the processor has what the library's code for AVX-512 needs, by the library's own check."""

    def version(self) -> str:
        """The version of the library that the extension was built with."""


@dataclass(frozen=True)
class _Decision:
    multibuffer: Multibuffer | None
    why_not: str
    faulty: bool = False


def multibuffer() -> Multibuffer | None:
    """Returns the extension, or None if it is not to be used in this process."""
    return _decide().multibuffer


def why_not() -> str:
    """Returns a sentence that says why `multibuffer` returns None; empty if it doesn't."""
    return _decide().why_not


def is_faulty() -> bool:
    """Returns whether the extension is there and does not work."""
    return _decide().faulty


@cache
def _decide() -> _Decision:
    if os.environ.get(_VARIABLE, "").lower() == "off":
        return _Decision(None, f"{_VARIABLE} is off.")
    try:
        native = cast("Multibuffer", import_module(_EXTENSION))
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        reason = "is not built" if missing else f"can't be loaded: {error}"
        return _Decision(None, f"The native extension {reason}.", faulty=not missing)
    if not native.applicable():
        return _Decision(None, "The processor lacks AVX-512 IFMA.")
    if fault := self_test(native):
        _log.warning("Multi-buffer signing is not used: its self-test failed: %s", fault)
        return _Decision(None, f"The self-test of the native extension failed: {fault}", faulty=True)
    return _Decision(native, "")


# RFC 6979, appendix A.2.5, P-256 and SHA-256: a message, its nonce, r and the lower of s and n - s.
_SCALAR = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
_KNOWN = [
    (
        b"sample",
        "a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60",
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        P256_ORDER - 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    (
        b"test",
        "d16b6ae827f17175e040871a1c7ec3500192c4c92677336ec2537acaee0008e0",
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
]
_TESTED = 9
"""Rows of the self-test: one more than there are lanes."""
_COUNTS = [_TESTED // 2, _TESTED - _TESTED // 2]
"""How many of them each of two keys signs."""
_BATCHES = [*range(_TESTED + 1), 20]
"""Rows of batches whose roots it compares: more than are hashed at a time in the last."""
_LENGTHS = [0, 1, 55, 56, 64, 119, 120, 256, 1000]
"""Bytes of the payloads: SHA-256's padding fits, just fits and just doesn't fit into the last block of 64."""


def self_test(native: Multibuffer) -> str:
    """Calls every function of the extension, and compares with what Python and `cryptography` compute.

    Returns:
        What is wrong, or an empty text.
    """
    try:
        return _fault(native)
    except Exception as error:  # noqa: BLE001 - whatever it is, cryptography signs instead
        return f"{type(error).__name__}: {error}"


def _fault(native: Multibuffer) -> str:
    for message, nonce, r, s in _KNOWN:
        answer = native.known_answer(_SCALAR, bytes.fromhex(nonce), sha256(message).digest())
        if answer != encode_dss_signature(r, s):
            return "the signature of a known answer is another."

    payloads = [bytes([number]) * length for number, length in enumerate(_LENGTHS)]
    digests = [_digest(payload) for payload in payloads]
    if native.sha256(payloads) != digests:
        return "the SHA-256 of a payload is another."
    messages = [b"of " + payload for payload in reversed(payloads)]
    for signed in (None, messages):
        if fault := _fault_of_p256(native, payloads, signed) or _fault_of_ed25519(native, payloads, signed):
            return fault
    return _fault_of_roots(native, digests)


def _fault_of_p256(native: Multibuffer, payloads: list[bytes], messages: list[bytes] | None) -> str:
    scalars = [_SCALAR, sha256(_SCALAR).digest()]
    keys = [native.Key(scalar) for scalar in scalars]
    packed = native.sign(keys, _COUNTS, payloads, messages, LEAST_WIDTH)
    rows = Rows(LEAST_WIDTH, bytearray(packed))
    if rows.digests != list(map(_digest, payloads)):
        return "the SHA-256 in a row is another."

    signatures, digests = rows.signatures, list(map(_digest, messages or payloads))
    public = [derive_private_key(int.from_bytes(scalar), SECP256R1()).public_key() for scalar in scalars]
    prehashed = ECDSA(Prehashed(SHA256()))
    for number, (signature, digest) in enumerate(zip(signatures, digests, strict=True)):
        public[number >= _COUNTS[0]].verify(signature, digest, prehashed)
    points = [key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in public]
    if native.verify(points, _COUNTS, digests, signatures) != b"\1" * _TESTED:
        return "a valid signature is found to be invalid."
    if native.verify(points, _COUNTS, digests[1:] + digests[:1], signatures) != bytes(_TESTED):
        return "an invalid signature is found to be valid."
    return _fault_of_tables(native, points, digests, signatures)


def _fault_of_tables(
    native: Multibuffer, points: list[bytes], digests: list[bytes], signatures: list[bytes]
) -> str:
    """Verifies as many signatures by each key as it takes to make a table of its multiples."""
    times = -(-native.table_least // min(_COUNTS))
    counts = [count * times for count in _COUNTS]

    def repeated(values: list[bytes]) -> list[bytes]:
        return values[: _COUNTS[0]] * times + values[_COUNTS[0] :] * times

    if native.verify(points, counts, repeated(digests), repeated(signatures)) != b"\1" * sum(counts):
        return "a valid signature is found to be invalid with a table."
    others = repeated(digests[1:] + digests[:1])
    if native.verify(points, counts, others, repeated(signatures)) != bytes(sum(counts)):
        return "an invalid signature is found to be valid with a table."
    return ""


def _fault_of_ed25519(native: Multibuffer, payloads: list[bytes], messages: list[bytes] | None) -> str:
    seeds, signed = [_SCALAR, sha256(_SCALAR).digest()], messages or payloads
    private = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
    points = [key.public_key().public_bytes_raw() for key in private]
    keys = list(map(native.Ed25519Key, seeds, points))
    packed = native.sign(keys, _COUNTS, payloads, messages, LEAST_WIDTH)
    signatures = [private[number >= _COUNTS[0]].sign(text) for number, text in enumerate(signed)]
    if packed != pack(map(_digest, payloads), signatures, LEAST_WIDTH):
        return "a signature of Ed25519 is another."
    if native.verify_ed25519(points, _COUNTS, signed, signatures) != b"\1" * _TESTED:
        return "a valid signature of Ed25519 is found to be invalid."
    if native.verify_ed25519(points, _COUNTS, signed[1:] + signed[:1], signatures) != bytes(_TESTED):
        return "an invalid signature of Ed25519 is found to be valid."
    return ""


def _fault_of_roots(native: Multibuffer, digests: list[bytes]) -> str:
    """Asks for the roots of batches of 0 to 20 rows in one call, with signatures of several lengths and ids of both types."""
    cycle = [digests[number % _TESTED] for number in range(sum(_BATCHES))]
    signatures = [digest * 2 + digest[: number % 8] for number, digest in enumerate(cycle)]
    numbers = [number**5 - 7 for number in range(len(cycle))]
    ends = list(accumulate(_BATCHES))
    places = [slice(end - count, end) for count, end in zip(_BATCHES, ends, strict=True)]
    for ids in (numbers, [f"\N{GREEK SMALL LETTER ALPHA}{number}" * (number % 9) for number in numbers]):
        hashes = record_hashes(ids, cycle, signatures)
        expected = [tree_root(hashes[place]) for place in places]
        rows = [pack(cycle[place], signatures[place], LEAST_WIDTH) for place in places]
        if native.roots([ids[place] for place in places], rows, LEAST_WIDTH) != expected:
            return "the root of a batch is another."
        if [native.root(ids[place], cycle[place], signatures[place]) for place in places] != expected:
            return "the root of digests and signatures is another."
    if native.any_begins(signatures, b"x") or not native.any_begins(signatures, signatures[-1][:7]):
        return "the beginning of a payload is another."
    return ""


def _digest(payload: bytes) -> bytes:
    return sha256(payload).digest()
