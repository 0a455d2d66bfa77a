"""What this machine has kept of a job outside of Postgres, beside the newest checkpoint of the log of seals.

A sealer writes the seal of a job before the checkpoint of its log, and neither is replaced by an older one. So a kept seal is in the
log of seals, or Postgres was rolled back; and it is not older than the kept checkpoint, or the file was. Sealers of earlier versions
wrote the checkpoint first: one that was ended in between has left an older seal, and the log of seals has the newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import unverified_checkpoint
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.seal import PlanEntry, SealEntry
from vaultstream.sealing.folder import CHECKPOINT, PLAN, SEAL, read_copy
from vaultstream.store.jobs import token_stem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class KeptCopies:
    """The files of one job in the folder of seals; None: there is none, or it can't be read."""

    plan: bytes | None = None
    seal: bytes | None = None
    checkpoint: bytes | None = None
    """Of the job's log."""

    @classmethod
    def read(cls, folder: Path) -> KeptCopies:
        """Reads the folder of one job."""
        found: dict[str, bytes | None] = {}
        for name in (CHECKPOINT, SEAL, PLAN):  # a sealer may write meanwhile, the seal first
            with suppress(OSError):
                found[name] = read_copy(folder / name)
        return cls(found.get(PLAN), found.get(SEAL), found.get(CHECKPOINT))

    def faults(self, leaves: Collection[bytes], sizes: Collection[int] = ()) -> Iterator[str]:
        """Yields what was rolled back: Postgres, or a file.

        Args:
            leaves: of the log of seals, as Postgres has it.
            sizes: those of the job's log that genuine seals in there have.
        """
        if self.plan is not None and leaf_hash(self.plan) not in leaves:
            records = _records_of(self.plan)
            yield f"the log of seals does not have the plan of this job that this machine has kept, of {records}"
        if self.seal is None:
            return
        try:
            seal = SealEntry.parse(self.seal)
        except ProofError:
            yield f"the file {SEAL} that this machine has kept of the job is no seal"
            return
        if leaf_hash(self.seal) not in leaves:
            yield (
                f"the log of seals does not have the seal of this job that this machine has kept, of {seal.signed} signed records "
                f"({seal.state})"
            )
        size = _size_of(self.checkpoint)
        if seal.tree_size < size and size not in sizes:
            yield (
                f"the file {SEAL} that this machine has kept of the job is older than the {CHECKPOINT} beside it: it is of "
                f"{seal.tree_size} entries of the job's log, and that is of {size}"
            )

    def is_outdated(self, sizes: Collection[int]) -> bool:
        """Returns whether the kept seal is older than the checkpoint beside it, and Postgres has the one of that checkpoint.

        Args:
            sizes: as `faults` takes them.
        """
        size = _size_of(self.checkpoint)
        if self.seal is None or size not in sizes:
            return False
        try:
            return SealEntry.parse(self.seal).tree_size < size
        except ProofError:
            return False


JobCopies = Mapping[tuple[str | None, str], KeptCopies]
"""Of jobs, by their tenant and token."""


def read_kept_copies(seals_dir: Path | None, name: str) -> JobCopies:
    """Reads the copies of the jobs that can have a name or token. They are older than a snapshot of Postgres that is made later.

    Args:
        seals_dir: the local folder of seals; None: there is none.
        name: of the job, or its token.
    """
    if seals_dir is None:
        return {}
    found = {}
    for tenant, root in [(None, seals_dir), *((each.name, each) for each in seals_dir.glob("tenants/*"))]:
        for folder in root.glob("jobs/*"):
            if folder.name == name or folder.name.startswith(f"{token_stem(name)}-"):
                found[tenant, folder.name] = KeptCopies.read(folder)
    return found


def _records_of(plan: bytes) -> str:
    try:
        return f"{PlanEntry.parse(plan).records} records"
    except ProofError:
        return "no known form"


def _size_of(note: bytes | None) -> int:
    try:
        return unverified_checkpoint(note).size if note is not None else 0
    except ProofError:
        return 0
