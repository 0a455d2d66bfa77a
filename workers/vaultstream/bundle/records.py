"""Checks a part of a bundle's records. The parts are checked in several processes, and put together by `Assembly`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from vaultstream.api import SignatureForm
from vaultstream.audit.checks.judgement import AuditKey, JwsKey
from vaultstream.audit.checks.plain_signatures import PlainSignatures
from vaultstream.bundle.layout import AboutBundle, BundledRecord, BundleFile
from vaultstream.crypto.algorithms import JWS_ALG, known_algorithm
from vaultstream.errors import CustodyError, ProofError, shortened
from vaultstream.proof.jws import JwsForm
from vaultstream.proof.merkle import HASH_SIZE, leaf_hash, tree_root
from vaultstream.proof.statement import record_leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultstream.bundle.contents import BundleContents

MAX_FAULTS = 100
"""So many faults are named."""


@dataclass(frozen=True, slots=True)
class StatedRecords:
    """What a statement says about its batch's records."""

    key_id: str
    count: int
    first_id: str
    last_id: str
    root: str
    sealed: bool


@dataclass(frozen=True)
class Expectation:
    """What the records of a bundle are compared with."""

    about: dict[str, Any]
    keys: list[tuple[str, str, str]]
    """Id, algorithm, and SubjectPublicKeyInfo in hex."""
    batches: list[tuple[int, tuple[str, int, str, str, str, bool]]]
    dead: list[str]

    @classmethod
    def of(cls, contents: BundleContents) -> Self:
        return cls(
            asdict(contents.about),
            [(key.key_id, key.algorithm, key.public_key.hex()) for key in contents.keys.values()],
            [
                (
                    number,
                    (
                        each.statement.key_id,
                        each.statement.count,
                        each.statement.first_id,
                        each.statement.last_id,
                        each.statement.root.hex(),
                        each.sealed,
                    ),
                )
                for number, each in contents.statements.items()
            ],
            sorted(contents.dead),
        )


@dataclass
class OpenBatch:
    """The records of a batch that were read so far."""

    first: str
    last: str
    leaves: bytearray = field(default_factory=bytearray)
    """The hashes of their leaves."""

    @property
    def count(self) -> int:
        return len(self.leaves) // HASH_SIZE

    def fault(self, number: int, stated: StatedRecords) -> str | None:
        """Returns what is wrong with a batch of which all records are here."""
        hashes = [bytes(self.leaves[at : at + HASH_SIZE]) for at in range(0, len(self.leaves), HASH_SIZE)]
        if (self.first, self.last) != (stated.first_id, stated.last_id) or tree_root(
            hashes
        ).hex() != stated.root:
            return f"batch {number} does not have the records that its key signed, or not as they were signed"
        return None


@dataclass
class RecordsPart:
    """What was found in a part of the records, as JSON-ready values."""

    records: int = 0
    payloads: int = 0
    bare: int = 0
    """Records whose own signature can't be checked without the payload."""
    first: str | None = None
    last: str | None = None
    revived: list[str] = field(default_factory=list)
    """Records that were dead, and are under a sealed statement."""
    unplanned: str | None = None
    """The first record that is under a statement from after the seal, and that the log does not have as dead."""
    whole: list[int] = field(default_factory=list)
    """Batches of which all records are in this part."""
    open: list[tuple[int, str, str, str]] = field(default_factory=list)
    """The others: number, first and last id, and leaves in hex."""
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0

    def fault(self, sentence: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(shortened(sentence))  # an id may be as long as a line


class RecordsChecker:
    """Checks parts of the records of one bundle."""

    def __init__(self, expectation: Expectation) -> None:
        about = AboutBundle(**expectation.about)
        algorithm = known_algorithm(about.algorithm)
        self._order = id_order(about.id_type)
        self._form = (
            JwsForm(JWS_ALG[algorithm], about.token) if about.signature_format == SignatureForm.JWS else None
        )
        self._keys = {
            key_id: AuditKey(
                key_id=key_id,
                algorithm=kind,
                public_key=bytes.fromhex(spki),
                state="",
                wanted=algorithm,
            )
            for key_id, kind, spki in expectation.keys
        }
        self._algorithm = algorithm
        self._batches = {number: StatedRecords(*stated) for number, stated in expectation.batches}
        self._dead = set(expectation.dead)

    def check(self, lines: Iterable[tuple[int, bytes]]) -> RecordsPart:
        """Checks the records of these lines, each with its place in the file."""
        part, open_batches = RecordsPart(), dict[int, OpenBatch]()
        plain = PlainSignatures[tuple[str, str]](self._algorithm)
        former: Any = None
        for place, line in lines:
            part.records += 1
            try:
                record = BundledRecord.parse(line)
                order = self._order(record.record_id)
            except (ProofError, ValueError) as error:
                why = error.message if isinstance(error, ProofError) else "Its id is not of the job's type."
                part.fault(f"{BundleFile.RECORDS}, at byte {place}: {why}")
                continue
            if former is not None and order <= former:
                part.fault(f"record {record.record_id!r} is not above the one before it")
            former = order
            part.first, part.last = (
                part.first if part.first is not None else record.record_id,
                record.record_id,
            )
            key = self._check(record, part, open_batches)
            if key is not None:
                self._check_signature(record, key, part, plain)
                if plain.is_full:
                    self._verify(plain, part)
        self._verify(plain, part)
        part.open = [
            (number, batch.first, batch.last, batch.leaves.hex()) for number, batch in open_batches.items()
        ]
        return part

    def _check(
        self, record: BundledRecord, part: RecordsPart, open_batches: dict[int, OpenBatch]
    ) -> AuditKey | None:
        """Checks a record as a part of its batch; returns the batch's key, if there is a batch."""
        stated = self._batches.get(record.batch)
        if stated is None:
            part.fault(f"record {shortened(record.record_id, 200)!r} is under no statement of a key")
            return None
        if stated.sealed and record.record_id in self._dead:
            part.revived.append(record.record_id)
        if not stated.sealed and record.record_id not in self._dead and part.unplanned is None:
            part.unplanned = record.record_id
        batch = open_batches.setdefault(record.batch, OpenBatch(record.record_id, record.record_id))
        batch.last = record.record_id
        batch.leaves += leaf_hash(record_leaf(record.record_id, record.digest, record.signature))
        if batch.count == stated.count:
            del open_batches[record.batch]
            part.whole.append(record.batch)
            if wrong := batch.fault(record.batch, stated):
                part.fault(wrong)
        return self._keys[stated.key_id]

    def _check_signature(
        self,
        record: BundledRecord,
        audit_key: AuditKey,
        part: RecordsPart,
        plain: PlainSignatures[tuple[str, str]],
    ) -> None:
        name = shortened(record.record_id, 200)
        part.payloads += record.payload is not None
        if record.payload is not None and sha256(record.payload).digest() != record.digest:
            part.fault(f"the payload of record {name!r} is not what was signed")
            return
        key = audit_key if self._form is None else JwsKey(audit_key, self._form, record.record_id)
        if record.payload is None and key.needs_payload:
            part.bare += 1
            return
        if self._form is None and (usable := audit_key.usable()):
            plain.add(
                key.key_id,
                usable,
                (name, key.key_id),
                record.signature,
                record.digest,
                payload=record.payload or b"",
            )
            return
        try:
            valid = key.verify(record.signature, digest=record.digest, payload=record.payload)
        except CustodyError as error:
            part.fault(f"the key of record {name!r} can't be used: {error.message}")
            return
        if not valid:
            part.fault(_does_not_verify(name, key.key_id))

    @staticmethod
    def _verify(plain: PlainSignatures[tuple[str, str]], part: RecordsPart) -> None:
        for name, key_id in plain.verify()[1]:
            part.fault(_does_not_verify(name, key_id))


def _does_not_verify(record: str, key_id: str) -> str:
    return f"the signature of record {record!r} does not verify under key {key_id}"


class Assembly:
    """Puts the parts of the records together, in their order."""

    def __init__(self, contents: BundleContents) -> None:
        self.total = RecordsPart()
        self.dead = set(contents.dead)
        """Records that are dead and not signed later."""
        self._order = id_order(contents.about.id_type)
        self._stated = contents.statements
        self._whole: set[int] = set()
        self._open: dict[int, OpenBatch] = {}

    def add(self, part: RecordsPart) -> None:
        total = self.total
        if (
            total.last is not None
            and part.first is not None
            and self._order(part.first) <= self._order(total.last)
        ):
            total.fault(f"record {part.first!r} is not above the one before it")
        total.last = part.last if part.last is not None else total.last
        total.records += part.records
        total.payloads += part.payloads
        total.bare += part.bare
        total.unplanned = total.unplanned if total.unplanned is not None else part.unplanned
        for sentence in part.faults:
            total.fault(sentence)
        total.fault_count += part.fault_count - len(part.faults)
        self.dead.difference_update(part.revived)
        for number in part.whole:
            if number in self._whole or number in self._open:
                total.fault(f"batch {number} has more records than its key signed")
            self._whole.add(number)
        for number, first, last, leaves in part.open:
            self._continue(number, OpenBatch(first, last, bytearray.fromhex(leaves)))

    def _continue(self, number: int, more: OpenBatch) -> None:
        batch = self._open.setdefault(number, OpenBatch(more.first, more.last))
        batch.last = more.last
        batch.leaves += more.leaves
        stated = self._stated[number].statement
        if batch.count > stated.count or number in self._whole:
            self.total.fault(f"batch {number} has more records than its key signed")
        elif batch.count == stated.count:
            del self._open[number]
            self._whole.add(number)
            kept = StatedRecords(
                stated.key_id, stated.count, stated.first_id, stated.last_id, stated.root.hex(), sealed=True
            )
            if wrong := batch.fault(number, kept):
                self.total.fault(wrong)

    def finish(self) -> RecordsPart:
        """Finds batches of which records are missing; returns the sum."""
        for number, each in self._stated.items():
            if number not in self._whole:
                here = self._open[number].count if number in self._open else 0
                if here < each.statement.count:
                    self.total.fault(
                        f"batch {number}: its key signed {each.statement.count} records, and the bundle has {here} of them"
                    )
        return self.total


def id_order(id_type: str) -> Callable[[str], Any]:
    """Returns what ids of a type are compared by.

    Raises:
        ProofError: there is no such type.
    """
    orders: dict[str, Callable[[str], Any]] = {
        "bigint": partial(_as_written, int),
        "uuid": partial(_as_written, UUID),
        "text": str.encode,
    }
    if id_type not in orders:
        raise ProofError(f"The bundle's ids are of the unknown type {shortened(id_type, 100)!r}.")
    return orders[id_type]


def _as_written(read: Callable[[str], int | UUID], text: str) -> int | UUID:
    """Reads an id of which there is one text.

    Raises:
        ValueError: it is another text.
    """
    value = read(text)
    if str(value) != text:
        raise ValueError
    return value
