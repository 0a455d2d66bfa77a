"""Signed records as packed rows: what a signer makes, a batch carries and `functions/commit_batches.sql` takes apart.

    row   SHA-256 of the payload (32 bytes)  length of the signature (2 bytes, big-endian)  the signature  zeros up to the width

All rows of a job have one width. Sending them this way costs a third of two arrays, on both ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DIGEST_BYTES, LENGTH_BYTES = 32, 2
HEAD_BYTES = DIGEST_BYTES + LENGTH_BYTES
"""What precedes the signature."""
LEAST_WIDTH = 105
"""The width that the native extension's rows have at least: for the longest signature of ECDSA."""


def pack(digests: Iterable[bytes], signatures: Sequence[bytes], width: int) -> bytes:
    """Returns the rows of signatures, one after the other.

    Raises:
        ValueError: a signature is too long for the width, or there is another number of digests.
    """
    room = width - HEAD_BYTES
    rows = b"".join(
        [
            digest + len(signature).to_bytes(LENGTH_BYTES) + signature.ljust(room, b"\0")
            for digest, signature in zip(digests, signatures, strict=True)
        ]
    )
    if len(rows) != width * len(signatures):
        raise ValueError(f"A signature is longer than the {room} bytes of its row.")
    return rows


@dataclass(slots=True)
class Rows:
    """Rows of one width, in `data`."""

    width: int
    data: bytearray = field(default_factory=bytearray)

    @classmethod
    def of(cls, digests: Iterable[bytes], signatures: Sequence[bytes], *, width: int | None = None) -> Self:
        """Packs signatures; without a width, as narrow as they allow."""
        if width is None:
            width = HEAD_BYTES + max(map(len, signatures), default=0)
        return cls(width, bytearray(pack(digests, signatures, width)))

    def __len__(self) -> int:
        return len(self.data) // self.width

    @property
    def digests(self) -> list[bytes]:
        """SHA-256 of each payload."""
        data = bytes(self.data)
        return [data[at : at + DIGEST_BYTES] for at in range(0, len(data), self.width)]

    def signature(self, row: int) -> bytes:
        """Returns the signature in one row."""
        return Rows(self.width, self.data[row * self.width : (row + 1) * self.width]).signatures[0]

    @property
    def signatures(self) -> list[bytes]:
        """Each signature."""
        data, found = bytes(self.data), []
        for at in range(0, len(data), self.width):
            length = data[at + DIGEST_BYTES] << 8 | data[at + DIGEST_BYTES + 1]
            found.append(data[at + HEAD_BYTES : at + HEAD_BYTES + length])
        return found

    def reorder(self, order: Iterable[int]) -> None:
        """Puts the rows into the order of these former places."""
        data, width = bytes(self.data), self.width
        self.data = bytearray().join(data[at * width : (at + 1) * width] for at in order)
