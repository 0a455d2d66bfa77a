"""Public keys in standard formats."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from vaultstream.crypto.algorithms import public_key_pem
from vaultstream.crypto.jwks import UNUSABLE, jwk_set
from vaultstream.errors import CustodyError
from vaultstream.keys.changes import KeyEnd
from vaultstream.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.store.keys import KeyInfo


class KeyFormat(StrEnum):
    JWKS = "jwks"
    PEM = "pem"


def trusted(keys: Sequence[KeyInfo]) -> list[KeyInfo]:
    """Returns the keys that were not revoked."""
    return [key for key in keys if key.state != KeyEnd.REVOKED]


def render_keys(keys: Sequence[KeyInfo], form: KeyFormat, *, about: dict[str, str] | None = None) -> str:
    """Returns public keys as a JWK set, with a member `state` in each key, or as PEM blocks, with a comment above each.

    Args:
        keys: the keys.
        form: of the result.
        about: further members of the JWK set, which programs ignore that do not know them (RFC 7517, section 5).
    """
    if form is KeyFormat.PEM:
        return "".join(
            f"# {visible(key.key_id)} ({visible(key.algorithm)}, {key.state})\n{_pem(key)}" for key in keys
        )
    return jwk_set([key.jwk for key in keys], about)


def _pem(key: KeyInfo) -> str:
    try:
        return public_key_pem(key.public_key)
    except CustodyError as error:
        raise CustodyError(f"Key {visible(key.key_id)}: {error.message}", hint=UNUSABLE) from None
