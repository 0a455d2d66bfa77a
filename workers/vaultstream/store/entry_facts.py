"""What an entry of a log is, told from the bytes whose hash is its leaf.

The columns beside them are under no hash: whoever owns the tables can say there that a statement is a dead letter. So a query may
select entries by these columns, and what it returns is read here. That it returns nothing proves nothing.
"""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text
from vaultstream.proof.dsse import envelope_data
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, RevocationEntry
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.seal import PlanEntry, SealEntry
from vaultstream.proof.statement import PAYLOAD_TYPE
from vaultstream.store.logs import (
    EntryKind,
    StoredEntry,
    leaf_hashes,
    newest_called_seal,
    newest_plan,
    suspected,
)

if TYPE_CHECKING:
    from vaultstream.proof.checkpoint import Checkpoint
    from vaultstream.store.database import Connection
    from vaultstream.store.logs import Log

_KINDS = {
    DeadLetterEntry.kind: EntryKind.DEAD_LETTER,
    RevocationEntry.kind: EntryKind.REVOCATION,
    AuditEntry.kind: EntryKind.AUDIT_EVENT,
    PlanEntry.kind: EntryKind.PLAN,
    SealEntry.kind: EntryKind.SEAL,
}
_OF_SEALS = (EntryKind.PLAN, EntryKind.SEAL)


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What an entry is."""

    kind: EntryKind
    job_token: str
    batch_no: int | None = None
    """Of a statement or a dead letter."""
    subject: str = ""
    """The record of a dead letter, the key of a revocation, the number of an audit event."""
    records: int = 0
    """That a statement counts."""
    action: str = ""
    """Of an audit event."""

    def fits(self, entry: StoredEntry) -> bool:
        """Whether Postgres has the entry as what it is."""
        if self.kind in _OF_SEALS:
            return entry.kind is self.kind
        return (entry.kind, entry.batch_no, entry.subject) == (self.kind, self.batch_no, self.subject)


def read_facts(entry: StoredEntry) -> EntryFacts:
    """Returns what an entry is.

    Raises:
        ProofError: its text is gone, or is not the one whose hash is the leaf.
    """
    if entry.body is None:
        raise ProofError(f"The text of entry {entry.index} is gone.")
    try:
        if entry.kind is EntryKind.STATEMENT:
            stated = json.loads(entry.body)
            data = envelope_data(entry.body, entry.signature or b"", stated["keyId"])
            facts = _of_statement(stated)
        else:
            data = entry.body.encode()
            facts = _of_members(json.loads(data))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        raise ProofError(f"Entry {entry.index} is of no known type.") from None
    if leaf_hash(data) != entry.leaf:
        raise ProofError(f"The text of entry {entry.index} is another than was entered.")
    return facts


def require_facts(entry: StoredEntry, kind: EntryKind, job_token: str) -> bytes:
    """Returns the bytes of an entry, which must be of that kind and about that job.

    Raises:
        ProofError: it is not.
    """
    facts = read_facts(entry)
    if (facts.kind, facts.job_token) != (kind, job_token):
        raise ProofError(f"Entry {entry.index} of a log is not the {kind} of the job {job_token!r}.")
    return entry.data or b""


async def require_entered(connection: Connection, log: Log, entry: StoredEntry, head: Checkpoint) -> None:
    """Checks that an entry is under a checkpoint of its log.

    Args:
        connection: to Postgres.
        log: that has the entry.
        entry: with its text.
        head: the checkpoint, which the seal key has signed.

    Raises:
        ProofError: it is not.
    """
    leaves = await leaf_hashes(connection, log, last=head.size)
    if (
        entry.index >= head.size
        or tree_root(leaves) != head.root
        or leaves[entry.index] != leaf_hash(entry.data or b"")
    ):
        raise ProofError(
            f"The {entry.kind} of a job is not the one that was entered in the log {log.origin!r}."
        )


async def find_plan(connection: Connection, log: Log, job_no: int, job_token: str) -> StoredEntry | None:
    """Returns the plan that a log of plans and seals has of a job; None if it has none, whatever Postgres says of its entries.

    Raises:
        ProofError: an entry is gone, or is another than was entered.
    """
    found = await newest_plan(connection, job_no, log=log)
    if found is not None:
        require_facts(found, EntryKind.PLAN, job_token)
        return found
    if log.size and tree_root(await leaf_hashes(connection, log)) != log.tree.root():
        raise ProofError(f"The entries of the log {log.origin!r} are not those that were entered.")
    for suspect in await suspected(connection, log, PlanEntry, canonical_text(job_token)):
        facts = read_facts(suspect)
        if (facts.kind, facts.job_token) == (EntryKind.PLAN, job_token):
            return suspect
    return None


async def find_seal(connection: Connection, log: Log, job_no: int, job_token: str) -> StoredEntry | None:
    """Returns the newest seal that a log of plans and seals has of a job; None if it has none. An older one never stands for it.

    Raises:
        ProofError: Postgres has a seal of the job as something else, or an entry is gone, or is another than was entered.
    """
    found = await newest_called_seal(connection, job_no, log=log)
    if found is not None:
        require_facts(found, EntryKind.SEAL, job_token)
    after = -1 if found is None else found.index
    for suspect in await suspected(connection, log, SealEntry, canonical_text(job_token), after=after):
        facts = read_facts(suspect)
        if (facts.kind, facts.job_token) == (EntryKind.SEAL, job_token):
            raise ProofError(
                f"Entry {suspect.index} of the log {log.origin!r} is a seal of the job {job_token!r}, and Postgres has it as something else.",
                hint="Somebody has changed vaultstream.log_entries by hand. `vaultstream verify` shows what is wrong.",
            )
    return found


def _of_members(values: dict[str, Any]) -> EntryFacts:
    if values.get("payloadType") == PAYLOAD_TYPE:
        return _of_statement(json.loads(b64decode(values["payload"])))
    kind, token = _KINDS[values["type"]], str(values["jobToken"])
    match kind:
        case EntryKind.DEAD_LETTER:
            return EntryFacts(kind, token, batch_no=int(values["batch"]), subject=str(values["recordId"]))
        case EntryKind.REVOCATION:
            return EntryFacts(kind, token, subject=str(values["keyId"]))
        case EntryKind.AUDIT_EVENT:
            return EntryFacts(kind, token, subject=str(values["number"]), action=str(values["action"]))
        case _:
            return EntryFacts(kind, token)


def _of_statement(stated: dict[str, Any]) -> EntryFacts:
    return EntryFacts(
        EntryKind.STATEMENT,
        str(stated["jobToken"]),
        batch_no=int(stated["batch"]),
        records=int(stated["count"]),
    )
