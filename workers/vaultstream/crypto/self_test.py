"""The self-test of the native extension: each of its functions against what Python and `cryptography` compute."""

from __future__ import annotations

import struct
from array import array
from hashlib import sha256
from itertools import accumulate
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.crypto.rows import LEAST_WIDTH, Rows, pack
from vaultstream.proof.merkle import tree_root
from vaultstream.proof.statement import record_hashes

if TYPE_CHECKING:
    from vaultstream.crypto.multibuffer import Multibuffer

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
    if fault := _fault_of_audit(native):
        return fault
    if native.any_begins(signatures, b"x") or not native.any_begins(signatures, signatures[-1][:7]):
        return "the beginning of a payload is another."
    return ""


def _fault_of_audit(native: Multibuffer) -> str:
    """Audits a batch as it was signed, and with another signature in its last row."""
    count = native.table_least + 1
    ids, payloads = [number * 3 for number in range(count)], [b"%d" % number for number in range(count)]
    rows = Rows(
        LEAST_WIDTH, bytearray(native.sign([native.Key(_SCALAR)], [count], payloads, None, LEAST_WIDTH))
    )
    digests, signatures = rows.digests, rows.signatures
    point = derive_private_key(int.from_bytes(_SCALAR), SECP256R1()).public_key()
    points = [point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)]
    packed = array("q", ids).tobytes()
    copied = _copied([[_int8(each), payload] for each, payload in zip(ids, payloads, strict=True)])
    if native.audit_payloads(packed, copied) != (b"".join(map(_digest, payloads)), bytes(count)):
        return "the SHA-256 of a copied payload is another."
    if not native.audit_known(packed, _copied([[_int8(ids[-1])]])):
        return "a copied id is not found."
    for expected, last in ((b"\1", signatures[-1]), (b"\0", signatures[0])):
        signatures[-1] = last
        root = tree_root(record_hashes(ids, digests, signatures))
        stated = struct.pack("=IiiqI32s", count, 1, 2, 3, 0, root)
        copied = _copied(
            [
                [_int8(each), b"\0\0\0\1", b"\0\0\0\2", _int8(3), digest, signature]
                for each, digest, signature in zip(ids, digests, signatures, strict=True)
            ]
        )
        if native.audit_batches(packed, stated, points, b"".join(digests), copied) != expected:
            return "a batch is judged otherwise."
    return ""


def _copied(rows: list[list[bytes]]) -> bytes:
    """Returns rows as COPY sends them in binary form."""
    fields = [len(row).to_bytes(2) + b"".join(len(each).to_bytes(4) + each for each in row) for row in rows]
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(fields) + b"\xff\xff"


def _int8(number: int) -> bytes:
    return number.to_bytes(8, signed=True)


def _digest(payload: bytes) -> bytes:
    return sha256(payload).digest()
