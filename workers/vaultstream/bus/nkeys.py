"""Logins of NATS by a key: an nkey, or a user JWT with its nkey in a file of credentials (`.creds`)."""

from __future__ import annotations

import re
from base64 import b32decode, b32encode, urlsafe_b64encode
from binascii import crc_hqx
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.errors import UsageError

_SEED: Final = 18 << 3
_USER: Final = 20 << 3
_LENGTH: Final = 2 + 32 + 2
"""Bytes of a seed: two for its kind, the key, and a checksum."""
_JWT = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
_NKEY = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END USER NKEY SEED-+")


@dataclass(frozen=True)
class NatsKey:
    """The key of a NATS user.

    Attributes:
        jwt: the user's JWT; empty: the server knows the key itself.
    """

    seed: bytes = field(repr=False)
    jwt: str = field(default="", repr=False)

    @classmethod
    def from_seed(cls, text: str, *, jwt: str = "") -> Self:
        """Returns the key of a seed, such as `SU…`.

        Raises:
            UsageError: it is not the seed of a user.
        """
        wrong = UsageError(
            "the nkey of NATS is not the seed of a user.",
            hint="A seed begins with SU and has 58 characters: `nsc generate nkey --user`.",
        )
        try:
            raw = b32decode(text.strip() + "=" * (-len(text.strip()) % 8))
        except ValueError:
            raise wrong from None
        if (
            len(raw) != _LENGTH
            or raw[0] & 0xF8 != _SEED
            or crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little")
        ):
            raise wrong
        if (raw[0] & 7) << 5 | raw[1] >> 3 != _USER:
            raise wrong
        return cls(raw[2:34], jwt)

    @classmethod
    def from_creds(cls, text: str) -> Self:
        """Returns the key in the text of a file of credentials.

        Raises:
            UsageError: it has no JWT, or no seed of a user.
        """
        jwt, seed = _JWT.search(text), _NKEY.search(text)
        if jwt is None or seed is None:
            raise UsageError(
                "the credentials of NATS have no user JWT with its nkey.",
                hint="Use the file that `nsc generate creds` writes, as a whole.",
            )
        return cls.from_seed(seed[1], jwt=jwt[1])

    @property
    def public(self) -> str:
        """The public key, such as `U…`."""
        key = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        body = bytes([_USER]) + key
        return b32encode(body + crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")

    def sign(self, nonce: str) -> bytes:
        """Returns the signature of what the server asks, in URL-safe base64."""
        return urlsafe_b64encode(self._private.sign(nonce.encode())).rstrip(b"=")

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)
