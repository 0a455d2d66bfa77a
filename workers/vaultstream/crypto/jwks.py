"""Sets of public keys in JSON (RFC 7517): what is published of a job's keys, and what is read of such a set."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import JWS_ALG, PublicKey, public_key_from_bytes, public_key_jwk
from vaultstream.errors import CustodyError, shortened

if TYPE_CHECKING:
    from datetime import datetime

REVOKED = "revoked"
ADDED = "addedSinceSeal"
"""A member of a key in a bundle that was added to the job since it was sealed."""
UNUSABLE = "No signer uses such a key. Whoever owns the schema removes it, or restores its row from a backup."
"""The hint for a stored public key that is none."""
_ALGORITHMS = {alg: algorithm for algorithm, alg in JWS_ALG.items()}


@dataclass(frozen=True, slots=True)
class JwkKey:
    """A key of a set."""

    key_id: str
    algorithm: Algorithm
    public_key: bytes
    """SubjectPublicKeyInfo in DER."""
    revoked: bool
    """Whether the set calls it revoked."""
    added: bool = False
    """Whether the set says that it was added since the job was sealed."""
    revoked_at: int | None = None
    """When the set says that it was revoked, in seconds of Unix time, rounded down."""


def published_jwk(
    public_key: bytes, *, key_id: str, algorithm: Algorithm, state: str, ended_at: datetime | None
) -> dict[str, Any]:
    """Returns a JWK. A library of JOSE ignores `state`, and mostly also `revoked`, which OpenID Federation defines.

    Args:
        public_key: SubjectPublicKeyInfo in DER.
        key_id: its id.
        algorithm: what it signs with.
        state: active, retired or revoked.
        ended_at: when it was retired or revoked.

    Raises:
        CustodyError: the bytes are not a public key, or the key is for another algorithm.
    """
    try:
        known = public_key_jwk(public_key, key_id=key_id, algorithm=algorithm)
    except CustodyError as error:
        raise CustodyError(f"Key {key_id}: {error.message}", hint=UNUSABLE) from None
    jwk: dict[str, Any] = {**known, "state": state}
    if state == REVOKED:
        jwk["revoked"] = {"revoked_at": int(ended_at.timestamp())} if ended_at else {}
    return jwk


def jwk_set(keys: list[dict[str, Any]], about: dict[str, str] | None = None) -> str:
    """Returns the text of a set, with further members if there are any."""
    return json.dumps({**(about or {}), "keys": keys}, indent=2) + "\n"


def parse_jwks(data: bytes, what: str) -> dict[str, JwkKey]:
    """Returns the keys of a set by id.

    Args:
        data: the set, which anybody may have written.
        what: what it is, for errors.

    Raises:
        CustodyError: it is no set of keys of the four algorithms, a key is weak, or two have the same id.
    """
    try:
        found = [_parse_jwk(jwk) for jwk in json.loads(data.decode())["keys"]]
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        Base64Error,
        UnsupportedAlgorithm,
    ):
        raise CustodyError(
            f"{what} is not a set of public keys that VaultStream signs with.",
            hint="`vaultstream keys export JOB` writes such a set.",
        ) from None
    keys = {key.key_id: key for key in found}
    if len(keys) < len(found):
        twice = next(key.key_id for key in found if keys[key.key_id] is not key)
        raise CustodyError(f"{what} has the key {shortened(twice)!r} twice.")
    return keys


def _parse_jwk(jwk: dict[str, Any]) -> JwkKey:
    key_id = jwk["kid"]
    if not isinstance(key_id, str):
        raise TypeError
    algorithm = _ALGORITHMS[jwk["alg"]]
    key: PublicKey
    match algorithm:
        case Algorithm.ECDSA_P256_SHA256:
            key = EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), SECP256R1()).public_key()
        case Algorithm.ED25519:
            key = Ed25519PublicKey.from_public_bytes(_bytes(jwk["x"]))
        case Algorithm.RSA_PSS_3072_SHA256:
            key = RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
        case Algorithm.ML_DSA_65:
            key = MLDSA65PublicKey.from_public_bytes(_bytes(jwk["pub"]))
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public_key_from_bytes(spki)  # refuses weak keys
    revoked = jwk.get("state") == REVOKED or "revoked" in jwk
    revoked_at = (jwk.get("revoked") or {}).get("revoked_at")
    if revoked_at is not None and type(revoked_at) is not int:
        raise TypeError
    return JwkKey(key_id, algorithm, spki, revoked, jwk.get(ADDED) is True, revoked_at)


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))
