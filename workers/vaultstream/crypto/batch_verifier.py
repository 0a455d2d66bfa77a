"""Verifies many ECDSA signatures at a time: eight at a time where `vaultstream.crypto.multibuffer` is used."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import Verifier, digest_verifier
from vaultstream.crypto.multibuffer import multibuffer


def verify_digests(
    keys: Sequence[EllipticCurvePublicKey],
    counts: Sequence[int],
    digests: Sequence[bytes],
    signatures: Sequence[bytes],
) -> list[bool]:
    """Returns for each signature whether it is valid, as `digest_verifier` finds it.

    What the extension calls invalid, `cryptography` judges again: the library fails to add two equal points, which a
    signature by a key that was made for one payload asks for. What the extension calls valid is valid.

    Args:
        keys: the first `counts[0]` signatures are by `keys[0]`, the next `counts[1]` by `keys[1]`, and so on.
        counts: as many as there are keys; their sum is the number of signatures.
        digests: SHA-256 of what was signed.
        signatures: DER with a low s.

    Raises:
        CustodyError: a key is on another curve than P-256.
        RuntimeError: the library failed.
        ValueError: the numbers of arguments do not fit.
    """
    by_group = [_verifier(key) for key in keys]
    verifiers = chain.from_iterable(map(repeat, by_group, counts))
    native = multibuffer()
    if native is None:
        judged = zip(verifiers, signatures, digests, strict=True)
        return [is_valid(signature, digest) for is_valid, signature, digest in judged]
    points = [key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in keys]
    answers = native.verify(points, counts, digests, signatures)
    if 0 not in answers:
        return [True] * len(answers)
    judged_again = zip(answers, verifiers, signatures, digests, strict=True)
    return [
        bool(answer) or is_valid(signature, digest) for answer, is_valid, signature, digest in judged_again
    ]


def _verifier(key: EllipticCurvePublicKey) -> Verifier:
    found = digest_verifier(key, Algorithm.ECDSA_P256_SHA256)
    if found is None:
        raise TypeError("ECDSA verifies digests.")
    return found
