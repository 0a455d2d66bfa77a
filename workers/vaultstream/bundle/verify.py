"""Verifies a bundle, without a database and on several cores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vaultstream.api import JobState
from vaultstream.audit.checks.judgement import AuditKey
from vaultstream.audit.exports.formats import rfc3339
from vaultstream.audit.pool import ask_all
from vaultstream.bundle.contents import BundleContents, read_contents, revocation_fault
from vaultstream.bundle.folder import BundleFolder
from vaultstream.bundle.layout import BundleFile
from vaultstream.bundle.records import (
    MAX_FAULTS,
    Assembly,
    Expectation,
    RecordsChecker,
    RecordsPart,
    id_order,
)
from vaultstream.bundle.sealed import SealedBundle, check_counts, read_bundled_seal
from vaultstream.cores import usable_cores
from vaultstream.errors import CustodyError, ProofError, shortened
from vaultstream.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vaultstream.audit.checks.pinned_keys import PinnedKeys
    from vaultstream.proof.note import NoteKey

OnRead = Callable[[int, int], None]
"""Called with the bytes of records checked so far and the total."""

PART_BYTES = 8 * 1024 * 1024
MIN_PART_BYTES = 64 * 1024
PARTS_A_PROCESS = 8


@dataclass(frozen=True)
class BundleReport:
    """What was found in a bundle."""

    job: str
    token: str
    records: int
    payloads: int
    statements: int
    sealed_at: str | None
    """Of the seal, whoever signed it; None: there is none."""
    revoked_keys: tuple[str, ...]
    revoked_later: tuple[str, ...]
    """Those of them that were revoked after the seal, or are of a job without one."""
    fault_count: int
    faults: tuple[str, ...]
    """The first ones, as sentences."""
    not_checked: tuple[str, ...]
    """What the bundle, or what was given with it, does not suffice for."""
    unfinished: str | None
    """Why the bundle is not that of a complete job, as a sentence; None: it is."""
    anchored: bool
    """Whether it is shown whose keys have signed: each is pinned, or is one of those under the seal of a seal key that was given."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, something shows whose keys these are, and the job was complete."""
        return not self.fault_count and self.anchored and self.unfinished is None

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


class _Faults:
    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def __call__(self, sentence: str) -> None:
        self.count += 1
        if len(self.first) < MAX_FAULTS:
            self.first.append(shortened(sentence))  # an id may be as long as a line

    def merge(self, part: RecordsPart) -> None:
        for sentence in part.faults:
            self(sentence)
        self.count += part.fault_count - len(part.faults)


async def verify_bundle(
    path: Path,
    *,
    seal_keys: Sequence[NoteKey] = (),
    pinned: PinnedKeys | None = None,
    processes: int | None = None,
    progress: OnRead | None = None,
) -> BundleReport:
    """Verifies a bundle.

    Args:
        path: its folder.
        seal_keys: the installation's seal keys, from elsewhere. The bundle must be sealed by one of them.
        pinned: the job's keys, from elsewhere; each key that signed must be one of them, and not revoked there. None: none are pinned.
        processes: how many processes check records; None: one per core.
        progress: called after each part of the records.

    Raises:
        UsageError: there is no such folder.
    """
    folder, faults = BundleFolder(path), _Faults()
    contents, sealed, total = None, None, RecordsPart()
    try:
        contents = read_contents(folder, faults)
        id_order(contents.about.id_type)
        for each in contents.statements.values():
            if wrong := revocation_fault(contents, each.statement):
                faults(wrong)
        if pinned is not None:
            _check_pinned(contents, pinned, faults)
        assembly = await _check_records(folder, contents, processes or usable_cores(), progress)
        total = assembly.finish()
        faults.merge(total)
        about = contents.about
        for name, said, here in (
            ("records", about.records, total.records),
            ("payloads", about.payloads, total.payloads),
        ):
            if said != here:
                faults(f"{BundleFile.ABOUT} has {said} {name}, and {BundleFile.RECORDS} {here}")
        if contents.sealed:
            sealed = read_bundled_seal(folder, contents, seal_keys, faults)
            check_counts(sealed, contents, len(assembly.dead), total.unplanned, faults)
        elif seal_keys:
            faults("a seal key was given, and the bundle has no seal")
        elif not total.records:
            faults("the bundle has no records and no seal")
    except (ProofError, CustodyError) as error:
        faults(error.message)
    return _report(contents, sealed, total, faults, anchors=(bool(seal_keys), pinned is not None))


async def _check_records(
    folder: BundleFolder, contents: BundleContents, processes: int, progress: OnRead | None
) -> Assembly:
    size = folder.size(BundleFile.RECORDS)
    step = min(PART_BYTES, max(MIN_PART_BYTES, size // (processes * PARTS_A_PROCESS)))
    starts = range(0, size, step)
    answers: dict[int, RecordsPart] = {}
    assembly, done, joined = Assembly(contents), 0, 0

    async def answered(number: int, answer: dict[str, Any]) -> None:
        nonlocal done, joined
        if "unreadable" in answer:
            raise ProofError(answer["unreadable"])
        answers[number] = RecordsPart(**answer)
        while joined in answers:  # in their order
            assembly.add(answers.pop(joined))
            joined += 1
        done = min(done + step, size)
        if progress is not None:
            progress(done, size)

    hello = {"folder": os.fspath(folder.path.absolute()), "expectation": asdict(Expectation.of(contents))}
    if size <= step:  # faster than to start a process
        checker = RecordsChecker(Expectation.of(contents))
        await answered(
            0, asdict(await asyncio.to_thread(lambda: checker.check(folder.lines(BundleFile.RECORDS))))
        )
        return assembly
    requests = [
        (number, {"start": start, "end": min(start + step, size)}) for number, start in enumerate(starts)
    ]
    await ask_all("vaultstream.bundle.process", hello, requests, processes=processes, answered=answered)
    return assembly


def _check_pinned(contents: BundleContents, pinned: PinnedKeys, faults: _Faults) -> None:
    for key_id in sorted({each.statement.key_id for each in contents.statements.values()}):
        key = contents.keys[key_id]
        found = pinned.fault(
            AuditKey(key_id=key_id, algorithm=key.algorithm, public_key=key.public_key, state="")
        )
        if found is not None:
            faults(f"{found[1]}, and signed a batch")


def _report(
    contents: BundleContents | None,
    sealed: SealedBundle | None,
    total: RecordsPart,
    faults: _Faults,
    *,
    anchors: tuple[bool, bool],
) -> BundleReport:
    return BundleReport(
        job=contents.about.job if contents else "",
        token=contents.about.token if contents else "",
        records=total.records,
        payloads=total.payloads,
        statements=len(contents.statements) if contents else 0,
        sealed_at=rfc3339(sealed.seal.sealed_at) if sealed else None,
        revoked_keys=tuple(sorted({*contents.revoked, *contents.revoked_later})) if contents else (),
        revoked_later=tuple(contents.revoked_later) if contents else (),
        fault_count=faults.count,
        faults=tuple(faults.first),
        not_checked=tuple(_not_checked(contents, sealed, total, anchors=anchors)) if contents else (),
        unfinished=_unfinished(contents, sealed) if contents else None,
        anchored=anchors[1] or (anchors[0] and not _has_unsealed_key(contents)),
    )


def _has_unsealed_key(contents: BundleContents | None) -> bool:
    """Whether a key has signed that is not under the seal: whoever made the bundle can have made it."""
    if contents is None:
        return False
    return any(contents.keys[each.statement.key_id].added for each in contents.statements.values())


def _unfinished(contents: BundleContents, sealed: SealedBundle | None) -> str | None:
    state = contents.about.state
    if state != JobState.COMPLETE:
        return f"The job was not complete when it was exported: it was {shortened(state, 100)}"
    if sealed and not contents.is_complete(sealed.seal.state):
        return f"The job was not complete when it was sealed: it was {sealed.seal.state}"
    return None


def _not_checked(
    contents: BundleContents,
    sealed: SealedBundle | None,
    total: RecordsPart,
    *,
    anchors: tuple[bool, bool],
) -> Iterator[str]:
    seal_key, pinned = anchors
    if not seal_key:
        yield "who sealed the job: no seal key was given"
        if not pinned:
            yield "whose keys these are: no keys are pinned, and no seal key was given"
    if not contents.sealed:
        yield "that no batch is missing: the job is not sealed"
    if sealed and sealed.plan is None:
        yield "that all that was planned was signed: the job has a seal and no plan"
    added = sum(each.added for each in contents.keys.values())
    if added and not pinned:
        yield f"whose {counted(added, 'key')} are that were added since the seal: they are not pinned"
    later = sum(not each.sealed for each in contents.statements.values())
    if contents.sealed and later:
        yield f"that no batch from after the seal is missing: {counted(later, 'batch', 'batches')} of them are here"
    if total.bare:
        yield (
            f"the own signatures of {counted(total.bare, 'record')} without payload; the statements of their keys have them"
        )
