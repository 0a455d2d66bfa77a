"""What a bundle says about its job besides the records: keys, statements and the job's log, each checked as it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultstream.api import JobState, SignatureForm
from vaultstream.audit.checks.judgement import AuditKey
from vaultstream.bundle.layout import AboutBundle, BundleFile
from vaultstream.crypto.algorithms import known_algorithm
from vaultstream.crypto.jwks import parse_jwks
from vaultstream.errors import ProofError, VaultStreamError, shortened
from vaultstream.proof.canonical import parse_canonical
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, RevocationEntry
from vaultstream.proof.merkle import Frontier, leaf_hash
from vaultstream.proof.seal import DELETED

if TYPE_CHECKING:
    from vaultstream.bundle.folder import BundleFolder
    from vaultstream.crypto.jwks import JwkKey
    from vaultstream.proof.statement import BatchStatement

OnFault = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BundledStatement:
    """A statement of the bundle, signed by its key."""

    statement: BatchStatement
    sealed: bool
    """Whether it is in the job's log."""


@dataclass
class BundleContents:
    """A bundle without its records."""

    about: AboutBundle
    keys: dict[str, JwkKey]
    sealed: bool
    """Whether there is a seal, valid or not."""
    planned: bool
    """Whether there is a plan, valid or not."""
    statements: dict[int, BundledStatement] = field(default_factory=dict)
    """By batch."""
    dead: set[str] = field(default_factory=set)
    """Ids of records that the log has as dead."""
    revoked: dict[str, RevocationEntry] = field(default_factory=dict)
    """By the key's id."""
    log: Frontier = field(default_factory=Frontier)
    """The tree over the entries of the log."""

    @property
    def revoked_later(self) -> list[str]:
        """Ids of keys that are revoked, and the log does not say so: they were revoked since the seal, or nothing is sealed."""
        return sorted(
            key.key_id for key in self.keys.values() if key.revoked and key.key_id not in self.revoked
        )

    def is_complete(self, sealed_as: str | None) -> bool:
        """Whether the job was complete, by its export and by its seal if it has one.

        A deletion is sealed too, and its seal does not say how the job had ended: only a plan shows that all was done.
        """
        if self.about.state != JobState.COMPLETE:
            return False
        return sealed_as in (None, JobState.COMPLETE) or (sealed_as == DELETED and self.planned)


def read_contents(folder: BundleFolder, fault: OnFault) -> BundleContents:
    """Reads a bundle without its records, and checks each statement.

    Args:
        folder: the bundle.
        fault: called with a sentence for each fault that leaves the rest readable.

    Raises:
        ProofError: a file is missing or malformed.
        CustodyError: the keys are malformed or weak.
    """
    about = AboutBundle.parse(folder.read(BundleFile.ABOUT))
    known_algorithm(about.algorithm)
    if about.signature_format not in list(SignatureForm):
        raise ProofError(f"{BundleFile.ABOUT} has the unknown signature format {about.signature_format!r}.")
    contents = BundleContents(
        about,
        parse_jwks(folder.read(BundleFile.KEYS), f"{BundleFile.KEYS} of the bundle"),
        folder.has(BundleFile.SEAL),
        folder.has(BundleFile.PLAN),
    )
    reader = _Entries(contents)
    names = [BundleFile.LOG] if contents.sealed else []
    if folder.has(BundleFile.STATEMENTS) or not contents.sealed:
        names.append(BundleFile.STATEMENTS)
    for name in names:
        for number, (_, entry) in enumerate(folder.lines(name), start=1):
            try:
                reader.add(entry, logged=name == BundleFile.LOG)
            except VaultStreamError as error:
                fault(f"{name}, line {number}: {error.message}")
    contents.log = reader.log
    return contents


class _Entries:
    """Takes the entries of a log in their order."""

    def __init__(self, contents: BundleContents) -> None:
        self._contents = contents
        self._keys = {
            key.key_id: AuditKey(
                key_id=key.key_id, algorithm=key.algorithm, public_key=key.public_key, state=""
            )
            for key in contents.keys.values()
        }
        self._leases: dict[tuple[str, int], int] = {}
        self._events = 0
        self._leaves: list[bytes] = []
        self._log = Frontier()

    @property
    def log(self) -> Frontier:
        """The tree over all entries so far that were logged."""
        self._log, self._leaves = self._log.extend(self._leaves), []
        return self._log

    def add(self, data: bytes, *, logged: bool) -> None:
        if logged:
            self._leaves.append(leaf_hash(data))
        values = parse_canonical(data)
        if "payloadType" in values or not logged:
            self._add_statement(StatementEnvelope.parse(data), logged=logged)
            return
        match values.get("type"):
            case DeadLetterEntry.kind:
                entry = DeadLetterEntry.parse(data)
                self._require_token(entry.job_token)
                self._contents.dead.add(entry.record_id)
            case RevocationEntry.kind:
                self._add_revocation(RevocationEntry.parse(data))
            case AuditEntry.kind:
                event = AuditEntry.parse(data)
                self._require_token(event.job_token)
                self._events += 1
                if event.number != self._events:
                    raise ProofError(f"Audit event {self._events} is missing.")
            case other:
                raise ProofError(f"The entry is of the unknown type {shortened(str(other), 100)!r}.")

    def _add_statement(self, envelope: StatementEnvelope, *, logged: bool) -> None:
        stated = envelope.statement
        where = f"The statement of batch {stated.batch}"
        self._require_token(stated.job_token)
        key, algorithm = self._keys.get(stated.key_id), self._contents.about.algorithm
        if key is None:
            raise ProofError(f"{where} is by key {stated.key_id!r}, which is not in {BundleFile.KEYS}.")
        if not stated.algorithm == key.algorithm == algorithm:
            raise ProofError(
                f"{where} is for {stated.algorithm}, its key for {key.algorithm}, the job for {algorithm}."
            )
        if logged and self._contents.keys[stated.key_id].added:
            raise ProofError(f"{where} is sealed, and its key is said to be added since.")
        envelope.require_signature(lambda signature, data: _verify(key, signature, data))
        if stated.batch in self._contents.statements:
            raise ProofError(f"{where} is there twice.")
        former = self._leases.setdefault((stated.key_id, stated.epoch), stated.batch)
        if former != stated.batch:
            raise ProofError(f"{where} has the lease of batch {former}: a key signs one batch under a lease.")
        self._contents.statements[stated.batch] = BundledStatement(stated, logged)

    def _add_revocation(self, entry: RevocationEntry) -> None:
        self._require_token(entry.job_token)
        key = self._contents.keys.get(entry.key_id)
        if key is None or sha256(key.public_key).digest() != entry.public_key_sha256:
            raise ProofError(f"Key {entry.key_id!r} was revoked, and {BundleFile.KEYS} has not this key.")
        if not key.revoked:
            raise ProofError(f"Key {entry.key_id!r} was revoked, and {BundleFile.KEYS} does not say so.")
        self._contents.revoked.setdefault(entry.key_id, entry)

    def _require_token(self, token: str) -> None:
        if token != self._contents.about.token:
            raise ProofError(f"It is about another job: {shortened(token, 100)!r}.")


def _verify(key: AuditKey, signature: bytes, data: bytes) -> bool:
    return key.verify(signature, digest=sha256(data).digest(), payload=data)


def revocation_fault(contents: BundleContents, statement: BatchStatement) -> str | None:
    """Returns a sentence if a statement was signed after its key was revoked."""
    entry, key = contents.revoked.get(statement.key_id), contents.keys[statement.key_id]
    if entry is not None:
        after = statement.signed_at > entry.revoked_at
    else:  # the key set has whole seconds
        after = key.revoked_at is not None and int(statement.signed_at.timestamp()) > key.revoked_at
    if not after:
        return None
    return f"batch {statement.batch} was signed after its key {statement.key_id} was revoked"
