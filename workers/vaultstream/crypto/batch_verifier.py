"""Verifies many signatures: those of ECDSA and Ed25519 eight at a time where `vaultstream.crypto.multibuffer` is used.

What the extension calls invalid, `cryptography` judges again: the library fails to add two equal points, which a signature by
a key that was made for one payload asks for. What the extension calls valid is valid. Where it fails, `cryptography` judges all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from itertools import chain, repeat
from logging import getLogger

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import PublicKey, Verifier, digest_verifier, verifier
from vaultstream.crypto.multibuffer import multibuffer

_log = getLogger(__name__)


def digests_of(payloads: Sequence[bytes]) -> list[bytes]:
    """Returns the SHA-256 of each payload."""
    if native := multibuffer():
        return native.sha256(payloads)
    return [sha256(payload).digest() for payload in payloads]


def verify_many(
    algorithm: Algorithm,
    keys: Sequence[PublicKey],
    counts: Sequence[int],
    signatures: Sequence[bytes],
    *,
    payloads: Sequence[bytes],
    digests: Sequence[bytes],
) -> list[bool]:
    """Returns for each signature whether it is valid over its payload, as `verifier` finds it.

    Args:
        algorithm: of all keys.
        keys: see `verify_digests`.
        counts: see `verify_digests`.
        signatures: in the form of the algorithm.
        payloads: what was signed.
        digests: their SHA-256, which the caller has computed.

    Raises:
        CustodyError: a key is for another algorithm.
        ValueError: the numbers of arguments do not fit.
    """
    match algorithm:
        case Algorithm.ECDSA_P256_SHA256:
            curves = [key for key in keys if isinstance(key, EllipticCurvePublicKey)]
            if len(curves) == len(keys):
                return verify_digests(curves, counts, digests, signatures)
        case Algorithm.ED25519:
            edwards = [key for key in keys if isinstance(key, Ed25519PublicKey)]
            if len(edwards) == len(keys):
                return verify_messages(edwards, counts, payloads, signatures)
        case Algorithm.RSA_PSS_3072_SHA256:
            by_digest = [verify for key in keys if (verify := digest_verifier(key, algorithm))]
            return _judged_again(None, by_digest, counts, digests, signatures)
        case Algorithm.ML_DSA_65:
            pass
    return _judged_again(None, [verifier(key, algorithm) for key in keys], counts, payloads, signatures)


def verify_digests(
    keys: Sequence[EllipticCurvePublicKey],
    counts: Sequence[int],
    digests: Sequence[bytes],
    signatures: Sequence[bytes],
) -> list[bool]:
    """Returns for each ECDSA signature whether it is valid, as `digest_verifier` finds it.

    Args:
        keys: the first `counts[0]` signatures are by `keys[0]`, the next `counts[1]` by `keys[1]`, and so on.
        counts: as many as there are keys; their sum is the number of signatures.
        digests: SHA-256 of what was signed.
        signatures: DER with a low s.

    Raises:
        CustodyError: a key is on another curve than P-256.
        ValueError: the numbers of arguments do not fit.
    """
    verifiers = [_digest_verifier(key) for key in keys]
    answers: bytes | None = None
    if native := multibuffer():
        points = [key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in keys]
        answers = _answers(native.verify, points, counts, digests, signatures)
    return _judged_again(answers, verifiers, counts, digests, signatures)


def verify_messages(
    keys: Sequence[Ed25519PublicKey],
    counts: Sequence[int],
    messages: Sequence[bytes],
    signatures: Sequence[bytes],
) -> list[bool]:
    """Returns for each signature of Ed25519 whether it is valid, as `verifier` finds it. It is `verify_digests` otherwise.

    The keys must come from `public_key_from_bytes`, which refuses weak ones.
    """
    verifiers = [verifier(key, Algorithm.ED25519) for key in keys]
    answers: bytes | None = None
    if native := multibuffer():
        points = [key.public_bytes_raw() for key in keys]
        answers = _answers(native.verify_ed25519, points, counts, messages, signatures)
    return _judged_again(answers, verifiers, counts, messages, signatures)


def _answers(
    verify: Callable[[Sequence[bytes], Sequence[int], Sequence[bytes], Sequence[bytes]], bytes],
    points: Sequence[bytes],
    counts: Sequence[int],
    signed: Sequence[bytes],
    signatures: Sequence[bytes],
) -> bytes | None:
    """Returns what the extension answers, or None if it fails."""
    try:
        return verify(points, counts, signed, signatures)
    except RuntimeError as error:
        _warn(str(error))
        return None


@cache
def _warn(fault: str) -> None:
    """Logs a fault once in a process: an audit asks for each batch."""
    _log.warning("cryptography verifies in place of the native extension, which failed: %s", fault)


def _judged_again(
    answers: bytes | None,
    verifiers: Sequence[Verifier],
    counts: Sequence[int],
    signed: Sequence[bytes],
    signatures: Sequence[bytes],
) -> list[bool]:
    if answers is None:
        answers = bytes(len(signatures))
    elif 0 not in answers:
        return [True] * len(answers)
    of_each = chain.from_iterable(map(repeat, verifiers, counts))
    judged = zip(answers, of_each, signatures, signed, strict=True)
    return [bool(answer) or is_valid(signature, text) for answer, is_valid, signature, text in judged]


def _digest_verifier(key: EllipticCurvePublicKey) -> Verifier:
    found = digest_verifier(key, Algorithm.ECDSA_P256_SHA256)
    if found is None:
        raise TypeError("ECDSA verifies digests.")
    return found
