"""Collects signatures of which only the validity is left to be found, and verifies them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from vaultstream.crypto.batch_verifier import verify_many

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vaultstream.api import Algorithm
    from vaultstream.crypto.algorithms import PublicKey

MAX_BYTES = 8 << 20
"""Payloads that are held until their signatures are verified."""
MAX_HELD = 16384
"""Signatures that are held: of small batches, many by each key, which then cost less."""

_Item = TypeVar("_Item")


_Plain = tuple[_Item, bytes, bytes, bytes]
"""An item, its signature, digest and payload. A plain tuple, because a named one takes five times as long to make."""


class PlainSignatures(Generic[_Item]):
    """Signatures of one job, by key."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._by_key: dict[Hashable, tuple[PublicKey, list[_Plain[_Item]]]] = {}
        self._count = self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether so much is held that it should be verified now."""
        return self._bytes > MAX_BYTES or self._count >= MAX_HELD

    def add(
        self,
        key_name: Hashable,
        key: PublicKey,
        item: _Item,
        signature: bytes,
        digest: bytes,
        *,
        payload: bytes,
    ) -> None:
        """Takes a signature by this key.

        Args:
            key_name: tells keys apart.
            key: for the job's algorithm.
            item: what `verify` returns of it, if it is invalid.
            signature: in the form of the algorithm.
            digest: the payload's SHA-256.
            payload: what was signed; the algorithms that sign the digest do not look at it.
        """
        if (of_key := self._by_key.get(key_name)) is None:
            of_key = self._by_key[key_name] = (key, [])
        of_key[1].append((item, signature, digest, payload))
        self._count += 1
        self._bytes += len(payload)

    def verify(self) -> tuple[int, list[_Item]]:
        """Verifies all that was added since the last call; returns the number of valid signatures, and the invalid ones."""
        groups, self._by_key = list(self._by_key.values()), {}
        self._count = self._bytes = 0
        plain = [each for _, group in groups for each in group]
        valid = verify_many(
            self._algorithm,
            [key for key, _ in groups],
            [len(group) for _, group in groups],
            [signature for _, signature, _, _ in plain],
            payloads=[payload for _, _, _, payload in plain],
            digests=[digest for _, _, digest, _ in plain],
        )
        invalid = [each[0] for each, is_valid in zip(plain, valid, strict=True) if not is_valid]
        return len(plain) - len(invalid), invalid
