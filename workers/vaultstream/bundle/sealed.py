"""Compares a bundle with its seal, and the seal with what was planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.bundle.layout import BundleFile
from vaultstream.errors import ProofError, shortened
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint
from vaultstream.proof.merkle import leaf_hash, verify_inclusion
from vaultstream.proof.note import unverified_text
from vaultstream.proof.seal import PlanEntry, SealedKey, SealEntry, job_origin, keys_digest, require_planned
from vaultstream.proof.tlog_proof import TlogProof

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.bundle.contents import BundleContents, OnFault
    from vaultstream.bundle.folder import BundleFolder
    from vaultstream.proof.note import NoteKey


@dataclass(frozen=True)
class SealedBundle:
    """The seal of a bundle."""

    seal: SealEntry
    plan: PlanEntry | None


def read_bundled_seal(
    folder: BundleFolder, contents: BundleContents, seal_keys: Sequence[NoteKey], fault: OnFault
) -> SealedBundle:
    """Returns the seal of a bundle. Its log, its keys and its plan are compared with it; its counts are not yet.

    Args:
        folder: the bundle.
        contents: its log and its keys.
        seal_keys: one of them must have signed; empty: no signature is verified.
        fault: called with a sentence for each fault.

    Raises:
        ProofError: a file is missing or malformed, is not signed by a seal key, or is not in the installation's log.
    """
    about = contents.about
    seal = SealEntry.parse(_in_log(folder, (BundleFile.SEAL, BundleFile.SEAL_PROOF), about.origin, seal_keys))
    head = _open(folder.read(BundleFile.CHECKPOINT), seal_keys, job_origin(about.origin, about.token))
    if (head.size, head.root) != (contents.log.size, contents.log.root()):
        fault(f"{BundleFile.LOG} does not have the {head.size} entries that its checkpoint has")
    if (seal.tree_size, seal.tree_root) != (head.size, head.root):
        fault("the seal is of another state of the job's log than the checkpoint")
    if (seal.job_token, seal.job) != (about.token, about.job):
        fault(f"the seal is of job {seal.job!r}, {seal.job_token}")
    keys = [
        SealedKey(key_id=each.key_id, algorithm=each.algorithm, public_key=each.public_key)
        for each in contents.keys.values()
        if not each.added
    ]
    if keys_digest(keys) != seal.keys_sha256:
        fault(f"{BundleFile.KEYS} does not have the keys that the seal has")
    plan = None
    if folder.has(BundleFile.PLAN):
        plan = PlanEntry.parse(
            _in_log(folder, (BundleFile.PLAN, BundleFile.PLAN_PROOF), about.origin, seal_keys)
        )
        if _checked_as_complete(seal, contents):
            try:
                require_planned(plan, seal)
            except ProofError as error:
                fault(error.message)
        elif (plan.job_token, plan.job, plan.source) != (seal.job_token, seal.job, seal.source):
            fault("the plan is of another job than the seal")
    return SealedBundle(seal, plan)


def check_counts(
    sealed: SealedBundle, contents: BundleContents, dead: int, unplanned: str | None, fault: OnFault
) -> None:
    """Compares the records with the seal.

    Args:
        sealed: the seal.
        contents: the statements.
        dead: how many records are dead.
        unplanned: a record that was signed since the seal, and that the log does not have as dead. None: there is none.
        fault: called with a sentence for each fault.
    """
    seal = sealed.seal
    signed = sum(each.statement.count for each in contents.statements.values() if each.sealed)
    if signed != seal.signed:
        fault(f"the seal has {seal.signed} signed records, and the statements of the log have {signed}")
    if _checked_as_complete(seal, contents) and unplanned is not None:
        fault(
            f"record {shortened(unplanned, 200)!r} was signed since the job was sealed as complete, and was not dead"
        )
    if _checked_as_complete(seal, contents) and dead != seal.dead:
        fault(f"the seal has {seal.dead} dead records, and the log has {dead}")


def _checked_as_complete(seal: SealEntry, contents: BundleContents) -> bool:
    """Whether the seal must be of a complete job, whatever became of it later."""
    return seal.state == JobState.COMPLETE or contents.is_complete(seal.state)


def _in_log(folder: BundleFolder, names: tuple[str, str], origin: str, seal_keys: Sequence[NoteKey]) -> bytes:
    """Returns an entry that is in the installation's log by its proof."""
    data, proof = folder.read(names[0]), TlogProof.parse(folder.read(names[1]))
    head = _open(proof.checkpoint, seal_keys, origin)
    if not verify_inclusion(leaf_hash(data), proof.index, head.size, proof.path, head.root):
        raise ProofError(
            f"{names[0]} of the bundle is not in the log {origin!r}: {names[1]} does not lead to it."
        )
    return data


def _open(note: bytes, seal_keys: Sequence[NoteKey], origin: str) -> Checkpoint:
    """Returns the checkpoint of a note, which must be signed if there are keys."""
    if seal_keys:
        return open_checkpoint(note, seal_keys, origin=origin).checkpoint
    checkpoint = Checkpoint.parse(unverified_text(note))
    if checkpoint.origin != origin:
        raise ProofError(f"The checkpoint is of the log {checkpoint.origin!r}, and must be of {origin!r}.")
    return checkpoint
