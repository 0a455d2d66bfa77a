"""Batch signers (`vaultstream.crypto.batch_signer`) that sign with the native extension, eight signatures at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import PrivateKey, Verifier, verifier
from vaultstream.crypto.rows import HEAD_BYTES, LEAST_WIDTH
from vaultstream.errors import CustodyError, SigningFaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultstream.crypto.multibuffer import Multibuffer, NativeKey

_P256_HEAD = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
_ED25519_HEAD = bytes.fromhex("302e020100300506032b657004220420")
"""How the PKCS#8 of each key begins, up to the private half."""
_PRIVATE_BYTES = 32


@dataclass(frozen=True, slots=True)
class MultibufferKey:
    """A key that the native extension signs with, whose private half is in the extension's own memory."""

    private: NativeKey
    point: bytes
    """The public half: uncompressed, or the 32 bytes of Ed25519."""
    verify: Verifier


class MultibufferSigner(ABC):
    """Signs eight payloads at a time."""

    path = "multibuffer"
    width: int

    def __init__(self, native: Multibuffer) -> None:
        self._native = native

    @abstractmethod
    def open(self, private_key: PrivateKey, der: bytes | bytearray) -> MultibufferKey: ...

    @abstractmethod
    def _answers(
        self, points: Sequence[bytes], messages: Sequence[bytes], signatures: Sequence[bytes]
    ) -> bytes:
        """Returns what the extension answers of each signature."""

    def sign(
        self,
        keys: Sequence[MultibufferKey],
        counts: Sequence[int],
        payloads: Sequence[bytes],
        messages: Sequence[bytes] | None = None,
    ) -> bytes:
        if not payloads:
            return b""
        try:
            return self._native.sign([key.private for key in keys], counts, payloads, messages, self.width)
        except RuntimeError as error:
            raise SigningFaultError(f"Multi-buffer signing failed: {error}") from error

    def verify(
        self, keys: Sequence[MultibufferKey], messages: Sequence[bytes], signatures: Sequence[bytes]
    ) -> list[bool]:
        try:
            answers = self._answers([key.point for key in keys], messages, signatures)
        except (RuntimeError, ValueError) as error:
            raise SigningFaultError(f"Multi-buffer verification failed: {error}") from error
        judged = zip(answers, keys, signatures, messages, strict=True)
        # The library can call a valid signature invalid: see `vaultstream.crypto.batch_verifier`.
        return [answer == 1 or key.verify(signature, message) for answer, key, signature, message in judged]


class P256MultibufferSigner(MultibufferSigner):
    """Signs with ECDSA on P-256 and random nonces."""

    width = LEAST_WIDTH

    def open(self, private_key: PrivateKey, der: bytes | bytearray) -> MultibufferKey:
        if not isinstance(private_key, EllipticCurvePrivateKey):
            raise CustodyError(f"The key can't be used with {Algorithm.ECDSA_P256_SHA256}.")
        public_key = private_key.public_key()
        point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        verify = verifier(public_key, Algorithm.ECDSA_P256_SHA256)
        return MultibufferKey(_private(der, _P256_HEAD, self._native.Key), point, verify)

    def _answers(
        self, points: Sequence[bytes], messages: Sequence[bytes], signatures: Sequence[bytes]
    ) -> bytes:
        digests = [sha256(message).digest() for message in messages]
        return self._native.verify(points, [1] * len(points), digests, signatures)


class Ed25519MultibufferSigner(MultibufferSigner):
    """Signs with Ed25519; the signatures are those of any other implementation."""

    width = HEAD_BYTES + 64

    def open(self, private_key: PrivateKey, der: bytes | bytearray) -> MultibufferKey:
        if not isinstance(private_key, Ed25519PrivateKey):
            raise CustodyError(f"The key can't be used with {Algorithm.ED25519}.")
        public_key = private_key.public_key()
        verify = verifier(public_key, Algorithm.ED25519)
        private = _private(
            der, _ED25519_HEAD, lambda seed: self._native.Ed25519Key(seed, public_key.public_bytes_raw())
        )
        return MultibufferKey(private, public_key.public_bytes_raw(), verify)

    def _answers(
        self, points: Sequence[bytes], messages: Sequence[bytes], signatures: Sequence[bytes]
    ) -> bytes:
        return self._native.verify_ed25519(points, [1] * len(points), messages, signatures)


def _private(der: bytes | bytearray, head: bytes, opened: Callable[[memoryview], NativeKey]) -> NativeKey:
    """Opens the private half in a key's PKCS#8, without a copy in Python's memory."""
    with memoryview(der) as key, key[len(head) : len(head) + _PRIVATE_BYTES] as private:
        if key[: len(head)] != head:
            raise CustodyError("The key's PKCS#8 is not in the form in which VaultStream writes it.")
        try:  # `cryptography` has read the key, so it is sound
            return opened(private)
        except (MemoryError, RuntimeError, ValueError) as error:
            raise SigningFaultError(f"The native extension can't open a key: {error}") from error
