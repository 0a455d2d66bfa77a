"""Signs many payloads by several keys in one call: payloads in, packed rows (`vaultstream.crypto.rows`) out.

The interface is the same for all algorithms. `cryptography` implements it for all of them, signature by signature; the native
extension for ECDSA and Ed25519, eight signatures at a time (`vaultstream.crypto.multibuffer_signer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import DigestSigner, PrivateKey, Verifier, digest_signer, verifier
from vaultstream.crypto.multibuffer import multibuffer
from vaultstream.crypto.multibuffer_signer import Ed25519MultibufferSigner, P256MultibufferSigner
from vaultstream.crypto.rows import HEAD_BYTES, Rows, pack
from vaultstream.proof.merkle import tree_root
from vaultstream.proof.statement import record_hashes

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNATURE_BYTES = {
    Algorithm.ECDSA_P256_SHA256: 71,  # with a low s
    Algorithm.ED25519: 64,
    Algorithm.RSA_PSS_3072_SHA256: 384,
    Algorithm.ML_DSA_65: 3309,
}
"""The length of the longest signature."""

_Key = TypeVar("_Key")


class BatchSigner(Protocol[_Key]):
    """Signs for one job."""

    width: int
    """The width of its rows."""
    path: str
    """What signs: "cryptography", or another library by its name."""

    def open(self, private_key: PrivateKey, der: bytes | bytearray) -> _Key:
        """Returns the key as `sign` takes it. Work that is the same for all payloads is done here, once.

        Args:
            private_key: the key.
            der: its PKCS#8, from which it was read; the caller may wipe it afterwards.

        Raises:
            CustodyError: the key is for another algorithm.
            SigningFaultError: the key is not at fault.
        """

    def sign(
        self,
        keys: Sequence[_Key],
        counts: Sequence[int],
        payloads: Sequence[bytes],
        messages: Sequence[bytes] | None = None,
    ) -> bytes:
        """Signs payloads and returns their rows.

        Args:
            keys: opened keys.
            counts: how many of the payloads each key signs, one key after the other.
            payloads: whose digests the rows have.
            messages: what is signed instead of the payloads; one for each.

        Raises:
            SigningFaultError: no key or payload is at fault.
        """

    def verify(
        self, keys: Sequence[_Key], messages: Sequence[bytes], signatures: Sequence[bytes]
    ) -> list[bool]:
        """Returns of each signature whether it is that of its key over its message. The lists are parallel.

        Raises:
            SigningFaultError: no signature was judged.
        """


@dataclass(frozen=True, slots=True)
class LibraryKey:
    """A key that `cryptography` signs with."""

    sign: DigestSigner
    verify: Verifier


class LibrarySigner:
    """Signs with `cryptography`: one signature after the other."""

    path = "cryptography"

    def __init__(self, algorithm: Algorithm, *, deterministic: bool = False) -> None:
        self._algorithm = algorithm
        self._deterministic = deterministic
        self.width = HEAD_BYTES + SIGNATURE_BYTES[algorithm]

    def open(self, private_key: PrivateKey, der: bytes | bytearray) -> LibraryKey:  # noqa: ARG002 - see `BatchSigner`
        sign = digest_signer(private_key, self._algorithm, deterministic=self._deterministic)
        return LibraryKey(sign, verifier(private_key.public_key(), self._algorithm))

    def sign(
        self,
        keys: Sequence[LibraryKey],
        counts: Sequence[int],
        payloads: Sequence[bytes],
        messages: Sequence[bytes] | None = None,
    ) -> bytes:
        digests = signed = [sha256(payload).digest() for payload in payloads]
        if messages is None:
            messages = payloads
        else:
            signed = [sha256(message).digest() for message in messages]
        signatures: list[bytes] = []
        start = 0
        for key, count in zip(keys, counts, strict=True):
            end = start + count
            signatures += key.sign(messages[start:end], signed[start:end])
            start = end
        return pack(digests, signatures, self.width)

    def verify(
        self, keys: Sequence[LibraryKey], messages: Sequence[bytes], signatures: Sequence[bytes]
    ) -> list[bool]:
        return [
            key.verify(signature, message)
            for key, message, signature in zip(keys, messages, signatures, strict=True)
        ]


def batch_signer(algorithm: Algorithm, *, deterministic: bool = False) -> BatchSigner[Any]:
    """Returns the fastest signer for an algorithm.

    Args:
        algorithm: of all keys.
        deterministic: whether ECDSA derives its nonces by RFC 6979. The other algorithms ignore it.
    """
    if native := multibuffer():
        if algorithm is Algorithm.ECDSA_P256_SHA256 and not deterministic:
            return P256MultibufferSigner(native)
        if algorithm is Algorithm.ED25519:
            return Ed25519MultibufferSigner(native)
    return LibrarySigner(algorithm, deterministic=deterministic)


def roots(ids: Sequence[Sequence[object]], rows: Sequence[Rows]) -> list[bytes]:
    """Returns the roots of batches' statements.

    Args:
        ids: the records' ids of each batch.
        rows: those of each batch, in the order of its ids. All have one width.
    """
    if (native := multibuffer()) and rows:
        return native.roots(list(map(_hashable, ids)), [each.data for each in rows], rows[0].width)
    return [
        tree_root(record_hashes(own, each.digests, each.signatures))
        for own, each in zip(ids, rows, strict=True)
    ]


def root(ids: Sequence[object], digests: Sequence[bytes], signatures: Sequence[bytes]) -> bytes:
    """Returns the root of one batch's statement. The lists are parallel, in the order of the leaves."""
    if native := multibuffer():
        return native.root(_hashable(ids), digests, signatures)
    return tree_root(record_hashes(ids, digests, signatures))


def any_begins(payloads: Sequence[bytes], prefix: bytes) -> bool:
    """Returns whether one of the payloads begins with a prefix."""
    if native := multibuffer():
        return native.any_begins(payloads, prefix)
    return any(map(bytes.startswith, payloads, repeat(prefix)))


def _hashable(ids: Sequence[object]) -> Sequence[int | str]:
    """Returns ids as the extension takes them."""
    if all(isinstance(each, (int, str)) for each in ids[:1]):  # of a job, all have one type
        return cast("Sequence[int | str]", ids)
    return list(map(str, ids))
