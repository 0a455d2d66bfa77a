"""Signs many payloads by several keys in one call: payloads in, packed rows (`vaultstream.crypto.rows`) out.

The interface is the same for all algorithms. `cryptography` implements it for all of them, signature by signature.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import DigestSigner, PrivateKey, digest_signer
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

    def open(self, private_key: PrivateKey) -> _Key:
        """Returns the key as `sign` takes it. Work that is the same for all payloads is done here, once.

        Raises:
            CustodyError: the key is for another algorithm.
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
        """


class LibrarySigner:
    """Signs with `cryptography`: one signature after the other."""

    path = "cryptography"

    def __init__(self, algorithm: Algorithm, *, deterministic: bool = False) -> None:
        self._algorithm = algorithm
        self._deterministic = deterministic
        self.width = HEAD_BYTES + SIGNATURE_BYTES[algorithm]

    def open(self, private_key: PrivateKey) -> DigestSigner:
        return digest_signer(private_key, self._algorithm, deterministic=self._deterministic)

    def sign(
        self,
        keys: Sequence[DigestSigner],
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
            signatures += key(messages[start:end], signed[start:end])
            start = end
        return pack(digests, signatures, self.width)


def batch_signer(algorithm: Algorithm, *, deterministic: bool = False) -> BatchSigner[Any]:
    """Returns the fastest signer for an algorithm.

    Args:
        algorithm: of all keys.
        deterministic: whether ECDSA derives its nonces by RFC 6979. The other algorithms ignore it.
    """
    return LibrarySigner(algorithm, deterministic=deterministic)


def roots(ids: Sequence[object], counts: Sequence[int], rows: Rows) -> list[bytes]:
    """Returns the root of a batch statement for each group of rows.

    Args:
        ids: the records' ids, one for each row.
        counts: how many of the rows each group has, one group after the other.
        rows: in the order of the leaves.
    """
    hashes = record_hashes(ids, rows.digests, rows.signatures)
    found, start = [], 0
    for count in counts:
        found.append(tree_root(hashes[start : start + count]))
        start += count
    return found
