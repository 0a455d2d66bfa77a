"""The envelope that a private key lies and travels in: AES-256-GCM under a key-encryption key (KEK).

`wrapped` is a random nonce of 12 bytes, the ciphertext of the key's PKCS#8, and the tag of 16 bytes. The associated
data says whose key it is, so that an envelope put in the place of another is refused. It is these fields in this
order, each with its length in bytes before it as an unsigned integer of 4 bytes, big-endian:

    "vaultstream wrapped key 1"   names this format
    job                           the job's token, UTF-8
    key id                        UTF-8
    version                       in decimal digits; grows with each rewrap
    algorithm                     its name in a SigningJob

The state of the key and the KEK's id are beside it, not bound: Postgres is the authority on the state, and with another
KEK the tag does not match. Random nonces are safe for 2^32 envelopes under one KEK; rotate it long before.

As a message an envelope is a JSON object of `WrappedKey`'s fields, `wrapped` in base64 (the URL-safe alphabet). Fields
of that object that are not known are passed over, for the sake of later versions.
"""

from __future__ import annotations

import os
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
MAX_MESSAGE_BYTES = 64 * 1024

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
    """Which key-encryption key wrapped it."""
    wrapped: Annotated[bytes, Field(min_length=NONCE_BYTES + TAG_BYTES + 1)]
    """Nonce, ciphertext and tag."""
    state: Annotated[str, Field(pattern="^(active|retired|revoked)$")]
    """active, retired or revoked, when the message was sent."""

    def to_message(self) -> bytes:
        """Returns the envelope as compact JSON."""
        return _MESSAGES.dump_json(self)

    @classmethod
    def from_message(cls, data: bytes) -> WrappedKey:
        """Reads what `to_message` wrote.

        Raises:
            CustodyError: it is longer than 64 KiB, no JSON, or lacks a field or has one that can't be; the text names
                the field and shows nothing of the content.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            raise CustodyError(
                f"A message of {len(data)} bytes is no wrapped key, which has at most {MAX_MESSAGE_BYTES}."
            )
        try:
            return _MESSAGES.validate_json(data, strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False, include_url=False)[0]
            what = f"its field {first['loc'][0]} can't be used" if first["loc"] else "it is no JSON object"
            raise CustodyError(f"A message can't be read as a wrapped key: {what}.") from None


_MESSAGES = TypeAdapter(WrappedKey)


def wrap(
    kek: KeyEncryptionKey,
    private_key_der: bytes,
    *,
    job: str,
    key_id: str,
    version: int,
    algorithm: Algorithm,
    state: str = "active",
) -> WrappedKey:
    """Puts a private key into an envelope, under a nonce of its own.

    Args:
        kek: what to wrap with: a ring's primary.
        private_key_der: the key as PKCS#8 in DER.
        job: token of the key's job.
        key_id: the key's name.
        version: 1 for a new key.
        algorithm: what the key signs with.
        state: active, retired or revoked.
    """
    nonce = os.urandom(NONCE_BYTES)
    bound = _associated_data(job, key_id, version, algorithm)
    wrapped = nonce + AESGCM(kek.secret).encrypt(nonce, private_key_der, bound)
    return WrappedKey(job, key_id, version, algorithm, kek.kek_id, wrapped, state)


def unwrap(ring: KeyRing, wrapped: WrappedKey) -> bytes:
    """Returns the private key as PKCS#8 in DER.

    Raises:
        CustodyError: the ring lacks the key-encryption key, or the envelope is not the one that was made for this job,
            key, version and algorithm.
    """
    kek = ring.get(wrapped.kek_id)
    nonce, sealed = wrapped.wrapped[:NONCE_BYTES], wrapped.wrapped[NONCE_BYTES:]
    try:
        bound = _associated_data(wrapped.job, wrapped.key_id, wrapped.version, wrapped.algorithm)
        return AESGCM(kek.secret).decrypt(nonce, sealed, bound)
    except (InvalidTag, ValueError):  # ValueError: too short for a nonce, or a name that is no UTF-8
        raise CustodyError(
            f"The private key {wrapped.key_id!r} can't be unwrapped with the key-encryption key {wrapped.kek_id}: "
            "its envelope was changed, or belongs to another key.",
            hint="Postgres has the envelope as it was made; if that one fails too, retire the key.",
        ) from None


def rewrap(ring: KeyRing, wrapped: WrappedKey) -> WrappedKey:
    """Moves a private key into a new envelope under the ring's primary; its version is one higher.

    Raises:
        CustodyError: as `unwrap`.
    """
    return wrap(
        ring.primary,
        unwrap(ring, wrapped),
        job=wrapped.job,
        key_id=wrapped.key_id,
        version=wrapped.version + 1,
        algorithm=wrapped.algorithm,
        state=wrapped.state,
    )


def _associated_data(job: str, key_id: str, version: int, algorithm: Algorithm) -> bytes:
    fields = [text.encode() for text in (_FORMAT, job, key_id, str(version), algorithm)]
    return b"".join(len(data).to_bytes(4, "big") + data for data in fields)
