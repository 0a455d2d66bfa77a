"""Proofs of https://c2sp.org/tlog-proof@v1: that an entry is in a log, in one file that is checked offline.

c2sp.org/tlog-proof@v1
extra <base64>                  (only if there are data)
index <of the entry, from 0>
<the path from the leaf to the root, one hash in base64 per line>

<the checkpoint, a signed note, as it is>
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import DECIMAL, MAX_LOG_SIZE, SignedCheckpoint, open_checkpoint
from vaultstream.proof.merkle import HASH_SIZE, verify_inclusion
from vaultstream.proof.note import MAX_NOTE_BYTES, decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.proof.note import NoteVerifier

_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_PATH = 63
"""The height of the largest tree."""
MAX_PROOF_BYTES = 2 * MAX_NOTE_BYTES


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof, verified or not.

    Raises:
        ProofError: a value can't be in a proof.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    """The signed note, as the log issued it."""
    extra: bytes = b""
    """Nothing authenticates it."""

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_LOG_SIZE:
            raise ProofError(f"The index of a proof must be from 0 to 2^63 - 2, and is {self.index}.")
        if len(self.path) > _MAX_PATH or any(len(one) != HASH_SIZE for one in self.path):
            raise ProofError("The path of a proof must be at most 63 hashes, of 32 bytes each.")

    @property
    def data(self) -> bytes:
        """The file."""
        lines = [_HEADER]
        if self.extra:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines += [f"index {self.index}", *map(encode_base64, self.path), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a proof. It proves nothing until `verify`.

        Raises:
            ProofError: it is malformed.
        """
        if len(data) > MAX_PROOF_BYTES:
            raise ProofError(f"The proof has {len(data)} bytes, and must have at most {MAX_PROOF_BYTES}.")
        head, gap, checkpoint = data.partition(b"\n\n")
        try:
            header, *lines = head.decode().split("\n")
        except UnicodeDecodeError:
            raise ProofError("The proof is not UTF-8.") from None
        if header != _HEADER:
            raise ProofError(f"The proof does not begin with the line {_HEADER}.")
        extra: bytes | None = b""
        if lines and lines[0].startswith("extra "):
            # No data have no line, so an empty one is malformed, and a proof has one text.
            extra = decode_base64(lines.pop(0).removeprefix("extra ")) or None
        if extra is None:
            raise ProofError("The proof's extra data must be base64, and not empty.")
        index = lines[0].removeprefix("index ") if lines else ""
        if not lines or not lines[0].startswith("index ") or not DECIMAL.fullmatch(index):
            raise ProofError("The proof has no line with the entry's index.")
        if not gap:
            raise ProofError("The proof has no empty line above its checkpoint.")
        # A line that is no base64 becomes a hash of no bytes, which no path may have.
        path = tuple(decode_base64(line) or b"" for line in lines[1:])
        return cls(int(index), path, checkpoint, extra)

    def verify(
        self,
        leaf: bytes,
        logs: Sequence[NoteVerifier],
        *,
        origin: str,
        witnesses: Sequence[NoteVerifier] = (),
    ) -> SignedCheckpoint:
        """Returns the checkpoint of the log that has the entry with this leaf hash.

        Args:
            leaf: the hash of the entry's leaf.
            logs: as for `open_checkpoint`, like `origin` and `witnesses`.
            origin: which log it must be.
            witnesses: keys whose cosignatures are verified too. The caller counts them.

        Raises:
            ProofError: the checkpoint is not one of that log's, or the entry is not in it at that index.
        """
        signed = open_checkpoint(self.checkpoint, logs, origin=origin, witnesses=witnesses)
        head = signed.checkpoint
        if not verify_inclusion(leaf, self.index, head.size, self.path, head.root):
            raise ProofError(
                f"The proof does not lead to an entry {self.index} of {origin!r}, of {head.size} entries."
            )
        return signed
