"""The envelope in which a private key is stored and sent: AES-256-GCM under a key-encryption key (KEK).

`wrapped` is a random nonce of 12 bytes, the ciphertext of the key's PKCS#8, and the tag of 16 bytes. The associated
data identifies the key, so an envelope that is swapped for another is refused. It consists of these fields in this
order, each preceded by its length in bytes as an unsigned 4-byte big-endian integer:

    "vaultstream wrapped key 1"   identifies this format
    job                           the job's token, UTF-8
    key id                        UTF-8
    version                       in decimal digits; increases with each rewrap
    algorithm                     its name in a SigningJob

The state of the key and the KEK's id are not authenticated: Postgres is the authority on the state, and with another
KEK the tag does not match. Random nonces are safe for 2^32 envelopes under one KEK; rotate it long before.

As a message, an envelope is a JSON object with `WrappedKey`'s fields, `wrapped` in base64 (the URL-safe alphabet).
Unknown fields are ignored, for compatibility with later versions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from vaultstream.api import Algorithm
from vaultstream.crypto.keyring import KeyEncryptionKey, KeyRing
from vaultstream.errors import CustodyError

NONCE_BYTES = 12
TAG_BYTES = 16
MAX_KEY_MESSAGE_BYTES = 64 * 1024

_FORMAT = "vaultstream wrapped key 1"

_Name = Annotated[str, Field(min_length=1, max_length=1024)]


@dataclass(frozen=True)
class WrappedKey:
    """A private key in its envelope."""

    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="ignore")

    job: _Name
    """The job's token."""
    key_id: _Name
    version: Annotated[int, Field(ge=1, lt=2**31)]
    algorithm: Algorithm
    kek_id: Annotated[str, Field(pattern="^kek-[0-9a-f]{12}$")]
    """Id of the key-encryption key that wrapped it."""
    wrapped: Annotated[bytes, Field(min_length=NONCE_BYTES + TAG_BYTES + 1)]
    """Nonce, ciphertext and tag."""
    state: Annotated[str, Field(pattern="^(active|retired|revoked)$")]
    """active, retired or revoked, as of when the message was sent."""

    def to_message(self) -> bytes:
        """Returns the envelope as compact JSON."""
        return _MESSAGES.dump_json(self)

    @classmethod
    def from_message(cls, data: bytes) -> WrappedKey:
        """Reads what `to_message` wrote.

        Raises:
            CustodyError: it is longer than 64 KiB, not JSON, or has a missing or invalid field. The message names the
                field and never shows the content.
        """
        if len(data) > MAX_KEY_MESSAGE_BYTES:
            raise CustodyError(
                f"A message of {len(data):,} bytes is not a wrapped key: those have at most {MAX_KEY_MESSAGE_BYTES:,} bytes."
            )
        try:
            return _MESSAGES.validate_json(data, strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False, include_url=False)[0]
            what = (
                f"its field {first['loc'][0]} is missing or invalid"
                if first["loc"]
                else "it is not a JSON object"
            )
            raise CustodyError(f"A message can't be read as a wrapped key: {what}.") from None


_MESSAGES = TypeAdapter(WrappedKey)


def wrap(
    kek: KeyEncryptionKey,
    private_key_der: bytes | bytearray,
    *,
    job: str,
    key_id: str,
    version: int,
    algorithm: Algorithm,
    state: str = "active",
) -> WrappedKey:
    """Puts a private key into an envelope, with a fresh nonce.

    Args:
        kek: the key-encryption key to wrap with: a ring's primary.
        private_key_der: the key as PKCS#8 in DER.
        job: the token of the key's job.
        key_id: the key's id.
        version: 1 for a new key.
        algorithm: the key's algorithm.
        state: active, retired or revoked.
    """
    nonce = os.urandom(NONCE_BYTES)
    bound = _associated_data(job, key_id, version, algorithm)
    wrapped = nonce + AESGCM(kek.secret).encrypt(nonce, private_key_der, bound)
    return WrappedKey(job, key_id, version, algorithm, kek.kek_id, wrapped, state)


@contextmanager
def unwrapped(ring: KeyRing, wrapped: WrappedKey) -> Iterator[bytearray]:
    """Yields what `unwrap` returns, and wipes it afterwards.

    Raises:
        CustodyError: see `unwrap`.
    """
    private_key_der = unwrap(ring, wrapped)
    try:
        yield private_key_der
    finally:
        private_key_der[:] = bytes(len(private_key_der))


def unwrap(ring: KeyRing, wrapped: WrappedKey) -> bytearray:
    """Returns the private key as PKCS#8 in DER.

    Raises:
        CustodyError: the ring lacks the key-encryption key, or the envelope was not made for this job, key, version and
            algorithm.
    """
    kek = ring.get(wrapped.kek_id)
    nonce, sealed = wrapped.wrapped[:NONCE_BYTES], wrapped.wrapped[NONCE_BYTES:]
    private_key_der = bytearray(max(len(sealed) - TAG_BYTES, 0))
    try:
        bound = _associated_data(wrapped.job, wrapped.key_id, wrapped.version, wrapped.algorithm)
        AESGCM(kek.secret).decrypt_into(nonce, sealed, bound, private_key_der)
    except (InvalidTag, ValueError):  # ValueError: too short for a nonce, or a name that is not UTF-8
        private_key_der[:] = bytes(len(private_key_der))  # it was decrypted before its tag was compared
        raise CustodyError(
            f"The private key {wrapped.key_id!r} can't be unwrapped with the key-encryption key {wrapped.kek_id}: "
            "its envelope was altered or belongs to another key.",
            hint="Postgres has the original envelope. If that one can't be unwrapped either, retire the key.",
        ) from None
    return private_key_der


def rewrap(ring: KeyRing, wrapped: WrappedKey) -> WrappedKey:
    """Moves a private key into a new envelope under the ring's primary, with a version one higher.

    Raises:
        CustodyError: see `unwrap`.
    """
    with unwrapped(ring, wrapped) as private_key_der:
        return wrap(
            ring.primary,
            private_key_der,
            job=wrapped.job,
            key_id=wrapped.key_id,
            version=wrapped.version + 1,
            algorithm=wrapped.algorithm,
            state=wrapped.state,
        )


def _associated_data(job: str, key_id: str, version: int, algorithm: Algorithm) -> bytes:
    fields = [text.encode() for text in (_FORMAT, job, key_id, str(version), algorithm)]
    return b"".join(len(data).to_bytes(4, "big") + data for data in fields)
