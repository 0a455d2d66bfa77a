"""The four algorithms: generates, serializes and publishes keys; signs and verifies payloads.

| Algorithm           | Signature                                         | JWK `alg` |
|---------------------|---------------------------------------------------|-----------|
| ECDSA_P256_SHA256   | DER SEQUENCE of r and low s, at most 71 bytes     | ES256     |
| ED25519             | 64 bytes (RFC 8032, the pure form)                | EdDSA     |
| RSA_PSS_3072_SHA256 | 384 bytes, MGF1 with SHA-256, a salt of 32 bytes  | PS256     |
| ML_DSA_65           | 3309 bytes (FIPS 204, hedged, the empty context)  | ML-DSA-65 |

A signature is over the exact bytes of the payload, so any standard tool can verify it. Of the two forms of an ECDSA signature,
only the one with the low s is written and accepted: see `vaultstream.crypto.low_s`.
"""

from __future__ import annotations

import shlex
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from vaultstream.api import Algorithm
from vaultstream.crypto.edwards_points import point_fault
from vaultstream.crypto.low_s import all_low_s, is_low_s
from vaultstream.errors import CustodyError

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey | MLDSA65PrivateKey
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey | MLDSA65PublicKey

Signer = Callable[[bytes], bytes]
"""Maps a payload to its signature."""
DigestSigner = Callable[[Sequence[bytes], Sequence[bytes]], list[bytes]]
"""Maps payloads and their SHA-256, in parallel lists, to the signatures."""
Verifier = Callable[[bytes, bytes], bool]
"""Takes a signature and a payload (or its SHA-256); returns whether the signature is valid."""

RSA_BITS = 3072
RSA_EXPONENT = 65537
SALT_BYTES = 32

JWS_ALG = {
    Algorithm.ECDSA_P256_SHA256: "ES256",
    Algorithm.ED25519: "EdDSA",
    Algorithm.RSA_PSS_3072_SHA256: "PS256",
    Algorithm.ML_DSA_65: "ML-DSA-65",
}
"""The names of the algorithms in JOSE, as IANA registers them."""


def known_algorithm(name: str) -> Algorithm:
    """Returns the algorithm of that name.

    Raises:
        CustodyError: there is none.
    """
    try:
        return Algorithm(name)
    except ValueError:
        raise CustodyError(f"VaultStream has no algorithm {name!r}.") from None


def generate_private_key(algorithm: Algorithm) -> PrivateKey:
    """Generates a key from the operating system's randomness."""
    match algorithm:
        case Algorithm.ECDSA_P256_SHA256:
            return generate_ec_key(SECP256R1())
        case Algorithm.ED25519:
            return Ed25519PrivateKey.generate()
        case Algorithm.RSA_PSS_3072_SHA256:
            return generate_rsa_key(RSA_EXPONENT, RSA_BITS)
        case Algorithm.ML_DSA_65:
            return MLDSA65PrivateKey.generate()


def private_key_to_bytes(key: PrivateKey) -> bytes:
    """Returns the key as unencrypted PKCS#8 in DER, which must go into an envelope and nowhere else."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def private_key_from_bytes(data: bytes | bytearray) -> PrivateKey:
    """Reads what `private_key_to_bytes` wrote.

    The bytes must come from an envelope, which authenticates them: an RSA key's primes are not tested again.

    Raises:
        CustodyError: the bytes are not a private key of one of the four algorithms.
    """
    try:
        key = load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CustodyError("The bytes given as a private key are not PKCS#8.") from None
    if not isinstance(key, PrivateKey):
        raise CustodyError("The private key is not for an algorithm that VaultStream signs with.")
    algorithm_of(key)
    return key


def public_key_to_bytes(private_key: PrivateKey) -> bytes:
    """Returns the public half as SubjectPublicKeyInfo in DER."""
    return private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_from_bytes(data: bytes) -> PublicKey:
    """Reads a public key from SubjectPublicKeyInfo in DER.

    This is the only way in for public keys, so what would make a signature prove nothing is refused here.

    Raises:
        CustodyError: the bytes are not a public key of one of the four algorithms, or it is a weak one: an Ed25519 point
            of small order or in a second encoding, an EC point off the curve, an RSA exponent other than 65537.
    """
    try:
        key = load_der_public_key(data)  # refuses EC points at infinity or off the curve
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CustodyError(
            "The bytes given as a public key are not SubjectPublicKeyInfo of a valid key."
        ) from None
    if not isinstance(key, PublicKey):
        raise CustodyError("The public key is not for an algorithm that VaultStream signs with.")
    algorithm_of(key)
    if isinstance(key, Ed25519PublicKey) and (fault := point_fault(key.public_bytes_raw())):
        raise CustodyError(f"The Ed25519 public key is refused: {fault}.")
    if isinstance(key, RSAPublicKey):
        _require_sound(key)
    return key


def _require_sound(key: RSAPublicKey) -> None:
    numbers = key.public_numbers()
    if numbers.e != RSA_EXPONENT:
        raise CustodyError(f"VaultStream supports the RSA exponent {RSA_EXPONENT}, not {numbers.e}.")
    if numbers.n % 2 == 0:
        raise CustodyError("The RSA public key is refused: its modulus is even.")


def algorithm_of(key: PrivateKey | PublicKey) -> Algorithm:
    """Returns the algorithm that a key is for, based on its type, curve and size.

    Raises:
        CustodyError: the curve is not P-256, or the RSA key does not have 3072 bits.
    """
    match key:
        case EllipticCurvePrivateKey() | EllipticCurvePublicKey():
            if isinstance(key.curve, SECP256R1):
                return Algorithm.ECDSA_P256_SHA256
            raise CustodyError(f"VaultStream supports the curve P-256, not {key.curve.name}.")
        case RSAPrivateKey() | RSAPublicKey():
            if key.key_size == RSA_BITS:
                return Algorithm.RSA_PSS_3072_SHA256
            raise CustodyError(
                f"VaultStream supports RSA keys of {RSA_BITS} bits; this one has {key.key_size}."
            )
        case Ed25519PrivateKey() | Ed25519PublicKey():
            return Algorithm.ED25519
        case MLDSA65PrivateKey() | MLDSA65PublicKey():
            return Algorithm.ML_DSA_65


def public_key_pem(spki: bytes) -> str:
    """Returns a public key as PEM text, from its SubjectPublicKeyInfo in DER."""
    key = public_key_from_bytes(spki)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def public_key_jwk(spki: bytes, *, key_id: str, algorithm: Algorithm) -> dict[str, str | list[str]]:
    """Returns a public key as a JSON Web Key (RFC 7517, 7518 and 8037; ML-DSA in the form "AKP").

    It says what the key is for: to verify signatures of one algorithm. The JWK describes the key, not the encoding of signatures:
    VaultStream's ECDSA signatures are DER, whereas a JWS concatenates r and s; see `vaultstream.crypto.raw_ecdsa`.

    Raises:
        CustodyError: the bytes are not a public key, or the key is for another algorithm.
    """
    key = public_key_from_bytes(spki)
    _require(key, algorithm)
    members = _jwk_members(key)
    return {**members, "use": "sig", "key_ops": ["verify"], "kid": key_id, "alg": JWS_ALG[algorithm]}


def signer(key: PrivateKey, algorithm: Algorithm, *, deterministic: bool = False) -> Signer:
    """Returns a function that signs payloads with a key. Work that is the same for all payloads is done here, once.

    Args:
        key: the private key.
        algorithm: the key's algorithm.
        deterministic: whether ECDSA derives its nonces by RFC 6979 instead of drawing them at random. The other
            algorithms ignore it.

    Raises:
        CustodyError: the key is for another algorithm.
    """
    sign = digest_signer(key, algorithm, deterministic=deterministic)
    return lambda payload: sign([payload], [sha256(payload).digest()])[0]


def digest_signer(key: PrivateKey, algorithm: Algorithm, *, deterministic: bool = False) -> DigestSigner:
    """Like `signer`, for many payloads at a time, whose SHA-256 the caller has already: it is not computed twice.

    Python code between two signatures runs from cold caches, so what is to be done with them is done afterwards.

    Raises:
        CustodyError: the key is for another algorithm.
    """
    _require(key, algorithm)
    prehashed = Prehashed(SHA256())
    match key:
        case EllipticCurvePrivateKey():
            ecdsa = ECDSA(prehashed, deterministic_signing=deterministic)
            ec_sign = key.sign
            return lambda _, digests: all_low_s([ec_sign(digest, ecdsa) for digest in digests])
        case RSAPrivateKey():
            padding, rsa_sign = _pss(), key.sign
            return lambda _, digests: [rsa_sign(digest, padding, prehashed) for digest in digests]
        case Ed25519PrivateKey() | MLDSA65PrivateKey():
            pure_sign = key.sign
            return lambda payloads, _: [pure_sign(payload) for payload in payloads]


def verifier(public_key: PublicKey, algorithm: Algorithm) -> Verifier:
    """Returns a function that verifies signatures over payloads with a public key.

    The function returns False for garbage of any length or form, and for an ECDSA signature with a high s.

    Raises:
        CustodyError: the key is for another algorithm.
    """
    _require(public_key, algorithm)
    match public_key:
        case EllipticCurvePublicKey():
            ecdsa, ec_verify = ECDSA(SHA256()), public_key.verify
            return _with_low_s(_answering(lambda signature, payload: ec_verify(signature, payload, ecdsa)))
        case RSAPublicKey():
            padding, sha256, rsa_verify = _pss(), SHA256(), public_key.verify
            return _answering(lambda signature, payload: rsa_verify(signature, payload, padding, sha256))
        case Ed25519PublicKey() | MLDSA65PublicKey():
            return _answering(public_key.verify)


def digest_verifier(public_key: PublicKey, algorithm: Algorithm) -> Verifier | None:
    """Like `verifier`, but the function takes the payload's SHA-256 (32 bytes) instead of the payload.

    Returns:
        None for Ed25519 and ML-DSA, which need the payload itself.

    Raises:
        CustodyError: the key is for another algorithm.
    """
    _require(public_key, algorithm)
    prehashed = Prehashed(SHA256())
    match public_key:
        case EllipticCurvePublicKey():
            ecdsa, ec_verify = ECDSA(prehashed), public_key.verify
            return _with_low_s(_answering(lambda signature, digest: ec_verify(signature, digest, ecdsa)))
        case RSAPublicKey():
            padding, rsa_verify = _pss(), public_key.verify
            return _answering(lambda signature, digest: rsa_verify(signature, digest, padding, prehashed))
        case Ed25519PublicKey() | MLDSA65PublicKey():
            return None


def openssl_command(algorithm: Algorithm, *, public: str, signature: str, payload: str) -> str:
    """Returns the `openssl` command line that verifies one signature.

    Ed25519 needs OpenSSL 3.0 or later (which can't verify a signature over an empty payload), ML-DSA 3.5 or later.

    Args:
        algorithm: the signature's algorithm.
        public: path of the public key in PEM.
        signature: path of the signature, as raw bytes.
        payload: path of the payload, as raw bytes.
    """
    match algorithm:
        case Algorithm.ECDSA_P256_SHA256:
            words = ["dgst", "-sha256", "-verify", public, "-signature", signature, payload]
        case Algorithm.RSA_PSS_3072_SHA256:
            options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", f"rsa_pss_saltlen:{SALT_BYTES}"]
            words = ["dgst", "-sha256", *options, "-verify", public, "-signature", signature, payload]
        case Algorithm.ED25519 | Algorithm.ML_DSA_65:
            where = ["-inkey", public, "-rawin", "-in", payload, "-sigfile", signature]
            words = ["pkeyutl", "-verify", "-pubin", *where]
    return shlex.join(["openssl", *words])


def _require(key: PrivateKey | PublicKey, algorithm: Algorithm) -> None:
    actual = algorithm_of(key)
    if actual != algorithm:
        raise CustodyError(f"The key is for {actual} and can't be used with {algorithm}.")


def _pss() -> PSS:
    return PSS(mgf=MGF1(SHA256()), salt_length=SALT_BYTES)


def _answering(check: Callable[[bytes, bytes], None]) -> Verifier:
    def verify(signature: bytes, signed: bytes) -> bool:
        try:
            check(signature, signed)
        except (InvalidSignature, ValueError):  # ValueError: a digest that is not 32 bytes long
            return False
        return True

    return verify


def _with_low_s(check: Verifier) -> Verifier:
    """Refuses the high-s twin of a valid signature. OpenSSL has accepted the DER by then, which has one form only."""
    return lambda signature, signed: check(signature, signed) and is_low_s(signature)


def _jwk_members(key: PublicKey) -> dict[str, str]:
    match key:
        case EllipticCurvePublicKey():
            point = key.public_numbers()
            x, y = (_base64url(number.to_bytes(32, "big")) for number in (point.x, point.y))
            return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        case Ed25519PublicKey():
            return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(key.public_bytes_raw())}
        case RSAPublicKey():
            numbers = key.public_numbers()
            n, e = (_base64url(i.to_bytes((i.bit_length() + 7) // 8, "big")) for i in (numbers.n, numbers.e))
            return {"kty": "RSA", "n": n, "e": e}
        case MLDSA65PublicKey():
            return {"kty": "AKP", "pub": _base64url(key.public_bytes_raw())}


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
