"""Collects signatures of which only the validity is left to be found, and verifies them together."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from vaultstream.crypto.batch_verifier import verify_many

if TYPE_CHECKING:
    from vaultstream.api import Algorithm
    from vaultstream.audit.checks.judgement import StoredSignature
    from vaultstream.audit.checks.queries import RecordId
    from vaultstream.crypto.algorithms import PublicKey

MAX_BYTES = 8 << 20
"""Payloads that are held until their signatures are verified."""

Plain = tuple["RecordId", "StoredSignature", bytes]
"""A record, its one signature, and its payload, of which the digest is the stored one."""


class PlainSignatures:
    """Signatures of one job, by key."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._by_key: dict[int, tuple[PublicKey, list[Plain]]] = {}
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether so much is held that it should be verified now."""
        return self._bytes > MAX_BYTES

    def add(self, key: PublicKey, record: RecordId, stored: StoredSignature, payload: bytes) -> None:
        """Takes a signature that its row says is by this key."""
        self._by_key.setdefault(stored.key_no, (key, []))[1].append((record, stored, payload))
        self._bytes += len(payload)

    def verify(self) -> tuple[int, list[Plain]]:
        """Verifies all that was added since the last call; returns the number of valid signatures, and the invalid ones."""
        groups, self._by_key, self._bytes = list(self._by_key.values()), {}, 0
        plain = list(chain.from_iterable(group for _, group in groups))
        valid = verify_many(
            self._algorithm,
            [key for key, _ in groups],
            [len(group) for _, group in groups],
            [stored.signature for _, stored, _ in plain],
            payloads=[payload for _, _, payload in plain],
            digests=[stored.digest for _, stored, _ in plain],
        )
        invalid = [each for each, is_valid in zip(plain, valid, strict=True) if not is_valid]
        return len(plain) - len(invalid), invalid
