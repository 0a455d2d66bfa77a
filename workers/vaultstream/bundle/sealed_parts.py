"""Writes what seals a job into its bundle: the job's log, its checkpoint, and the plan and the seal with their proofs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.audit.exports.export import BATCH_ROWS
from vaultstream.bundle.layout import BundleFile
from vaultstream.crypto.jwks import REVOKED
from vaultstream.errors import AuditError, ProofError
from vaultstream.proof.checkpoint import Checkpoint
from vaultstream.proof.entries import RevocationEntry
from vaultstream.proof.merkle import inclusion_path
from vaultstream.proof.note import unverified_text
from vaultstream.proof.seal import SealedKey, SealEntry, job_origin, keys_digest
from vaultstream.proof.tlog_proof import TlogProof
from vaultstream.store.entry_facts import find_plan, find_seal
from vaultstream.store.logs import EntryKind, find_log, get_log, leaf_hashes, newest_seal, read_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.bundle.writer import BundleWriter
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.keys import KeyInfo
    from vaultstream.store.logs import Log


@dataclass(frozen=True)
class SealedLog:
    """The job's log, as far as its newest seal has it."""

    origin: str
    """Of the installation's log."""
    log: Log
    seal: SealEntry
    revoked: frozenset[str]
    """Ids of the keys that the log has as revoked."""

    def added(self, keys: Sequence[KeyInfo]) -> set[str]:
        """Returns the ids of the keys that the seal does not have, because they were added since.

        Which these are is told from when they were created. If the others are not those of the seal, something is wrong, and no key
        is excused.
        """
        if self._has(keys):
            return set()
        earlier = [key for key in keys if key.created_at <= self.seal.sealed_at]
        if not self._has(earlier):
            return set()
        return {key.key_id for key in keys} - {key.key_id for key in earlier}

    def unsealed_revocations(self, keys: Sequence[KeyInfo]) -> int:
        """Returns how many keys are revoked of which the log does not say so."""
        return sum(key.state == REVOKED and key.key_id not in self.revoked for key in keys)

    def _has(self, keys: Sequence[KeyInfo]) -> bool:
        sealed = (
            SealedKey(key_id=key.key_id, algorithm=key.algorithm, public_key=key.public_key) for key in keys
        )
        return keys_digest(sealed) == self.seal.keys_sha256


async def write_sealed_log(connection: Connection, job: Job, writer: BundleWriter) -> SealedLog | None:
    """Writes the parts of a bundle that are under the newest seal; returns None if the job has none.

    Nothing is verified: that is for the reader of the bundle, who has the seal key from elsewhere.

    Raises:
        AuditError: what was sealed is gone, or can't be read.
    """
    stored = await newest_seal(connection, job.job_no)
    if stored is None:
        return None
    try:
        seal = SealEntry.parse(stored.body.encode())
        installation = await get_log(connection, stored.log_no)
        log = installation and await find_log(connection, job_origin(installation.origin, job.token))
        if installation is None or log is None:
            raise AuditError(f"The log of job {job.name} is gone, which its seal names.")
        await find_seal(connection, installation, job.job_no, job.token)  # no older one stands for the newest
        writer.append(BundleFile.LOG, [])
        revoked = await _write_entries(connection, log, seal.tree_size, writer)
        writer.write(BundleFile.CHECKPOINT, stored.job_checkpoint)
        plan = await find_plan(connection, installation, job.job_no, job.token)
        head = Checkpoint.parse(unverified_text(stored.checkpoint))
        leaves = await leaf_hashes(connection, installation, last=head.size)
        entries = [(BundleFile.SEAL, BundleFile.SEAL_PROOF, stored.index, stored.body)]
        if plan is not None and plan.body is not None and plan.index < head.size:
            entries.append((BundleFile.PLAN, BundleFile.PLAN_PROOF, plan.index, plan.body))
        for name, proof_name, index, body in entries:
            writer.write(name, body.encode())
            path = tuple(inclusion_path(leaves, index))
            writer.write(proof_name, TlogProof(index, path, stored.checkpoint).data)
    except ProofError as error:
        raise AuditError(
            f"The seal of job {job.name} can't be exported: {error.message}",
            hint=f"`vaultstream verify {job.name}` names what was done to it.",
        ) from None
    return SealedLog(installation.origin, log, seal, revoked)


async def _write_entries(connection: Connection, log: Log, size: int, writer: BundleWriter) -> frozenset[str]:
    """Writes the entries of a log; returns the ids of the keys that it has as revoked."""
    lines: list[bytes] = []
    revoked: set[str] = set()
    written = 0
    async for entry in read_entries(connection, log, last=size):
        if entry.index != written or entry.data is None:
            break
        lines.append(entry.data)
        if entry.kind is EntryKind.REVOCATION:
            revoked.add(RevocationEntry.parse(entry.data).key_id)
        written += 1
        if len(lines) == BATCH_ROWS:
            writer.append(BundleFile.LOG, lines)
            lines.clear()
    writer.append(BundleFile.LOG, lines)
    if written != size:
        raise ProofError(f"Entry {written} of the log {log.origin!r} is gone.")
    return frozenset(revoked)
