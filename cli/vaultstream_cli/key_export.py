"""Public keys in standard formats."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING

from vaultstream.crypto.algorithms import public_key_jwk, public_key_pem
from vaultstream.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.store.keys import KeyInfo


class KeyFormat(StrEnum):
    JWKS = "jwks"
    PEM = "pem"


def render_keys(keys: Sequence[KeyInfo], form: KeyFormat) -> str:
    """Returns public keys as a JWK set, with a member `state` in each key, or as PEM blocks, with a comment above each."""
    if form is KeyFormat.PEM:
        return "".join(
            f"# {visible(key.key_id)} ({visible(key.algorithm)}, {key.state})\n{public_key_pem(key.public_key)}"
            for key in keys
        )
    jwks = [
        {**public_key_jwk(key.public_key, key_id=key.key_id, algorithm=key.algorithm), "state": key.state}
        for key in keys
    ]
    return json.dumps({"keys": jwks}, indent=2) + "\n"
