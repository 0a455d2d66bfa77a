"""What a user trusts of seals: the seal key's public half, and checkpoints that somebody has kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from vaultstream.crypto.seal_keys import load_seal_keys, parse_verifier_keys
from vaultstream.errors import CustodyError, ProofError, UsageError
from vaultstream.proof.checkpoint import unverified_checkpoint
from vaultstream.proof.note import MAX_NOTE_BYTES
from vaultstream.regular_file import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vaultstream.proof.note import NoteKey


@dataclass(frozen=True)
class SealTrust:
    """What seals are verified with."""

    keys: tuple[NoteKey, ...] = ()
    """Each may have signed. Empty: nothing proves that a seal is genuine."""
    kept: tuple[bytes, ...] = ()
    """Checkpoints that were kept elsewhere, of the job's log or of the log of seals."""
    local: tuple[bytes, ...] = ()
    """The newest checkpoints of logs of seals of these keys that this machine has: of the installation's log, and of tenants'."""
    folder: Path | None = None
    """Where this machine has copies of seals; None: it has none of these keys."""
    asked: bool = False
    """Whether the user gave a key or a checkpoint: then a job without a seal is at fault, whenever it is from."""

    @classmethod
    def read(
        cls, seal_key: Sequence[str], against: Sequence[Path], *, key_file: Path, seals_dir: Path
    ) -> Self:
        """Reads what the user gave, and what this machine has.

        Args:
            seal_key: verifier keys, or paths of files of them; none: the public halves of the local seal key, if it can be read.
            against: files of checkpoints.
            key_file: the local file of the seal key.
            seals_dir: the local folder of seals.

        Raises:
            UsageError: a key or a checkpoint that was given can't be read.
        """
        kept = [read_kept(path) for path in against]
        asked = bool(seal_key) or bool(kept)
        if seal_key:
            keys = parse_verifier_keys(*seal_key)
        else:
            try:
                keys = load_seal_keys(key_file).known
            except CustodyError:
                return cls((), tuple(kept), (), asked=asked)
        trust = cls(keys, tuple(kept), (), seals_dir, asked)
        return replace(trust, local=tuple(filter(trust._is_of_key, _local_notes(seals_dir))))

    def has_key_of(self, origin: str) -> bool:
        """Whether one of the keys may have signed a log with that origin."""
        return any(f"{origin}/".startswith(f"{key.name}/") for key in self.keys)

    def _is_of_key(self, note: bytes) -> bool:
        try:
            return self.has_key_of(unverified_checkpoint(note).origin)
        except ProofError:
            return False


def _local_notes(seals_dir: Path) -> Iterator[bytes]:
    for path in (seals_dir / "checkpoint", *sorted(seals_dir.glob("tenants/*/checkpoint"))):
        with suppress(OSError), open_regular(path) as file:
            yield file.read()


def read_kept(path: Path) -> bytes:
    """Returns the checkpoint in a file, which nobody has verified.

    Raises:
        UsageError: the file can't be read, or has no checkpoint.
    """
    try:
        with path.open("rb") as file:
            note = file.read(MAX_NOTE_BYTES + 1)
        unverified_checkpoint(note)
    except ProofError as error:
        raise UsageError(
            f"The file {path} is no checkpoint: {error.message}",
            hint="`vaultstream log checkpoint` prints one.",
        ) from None
    except OSError as error:
        raise UsageError(
            f"The checkpoint {path} can't be read: {error.strerror}.",
            hint="`vaultstream log checkpoint` prints one.",
        ) from None
    return note
