"""Bundles of jobs that never ran, made as an export makes them, from the pure parts alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.node import find_node
from support.proving import STARTED, SignedBatch
from vaultstream.api import Algorithm
from vaultstream.audit.checks.pinned_keys import PinnedKeys
from vaultstream.bundle.layout import AboutBundle, BundledRecord
from vaultstream.bundle.verify import verify_bundle
from vaultstream.bundle.writer import open_bundle
from vaultstream.crypto.algorithms import JWS_ALG, public_key_to_bytes, signer
from vaultstream.crypto.jwks import jwk_set, published_jwk
from vaultstream.crypto.seal_keys import parse_verifier_keys
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, LogEntry, RevocationEntry
from vaultstream.proof.jws import JwsForm
from vaultstream.proof.merkle import inclusion_path, leaf_hash, tree_root
from vaultstream.proof.note import NoteSigningKey
from vaultstream.proof.seal import (
    PlanEntry,
    PlannedBatch,
    SealedKey,
    SealEntry,
    job_origin,
    keys_digest,
    ranges_digest,
)
from vaultstream.proof.tlog_proof import TlogProof

TOKEN, JOB = "receipts-1a2b3c4d", "receipts"
ORIGIN = "vaultstream-0a1b2c3d"
LATER = STARTED + timedelta(hours=1)


class SignedJwsBatch(SignedBatch):
    """A batch that is signed as JWS."""

    @cached_property
    def signatures(self) -> list[bytes]:
        form = JwsForm(JWS_ALG[self.algorithm], self.token)
        sign = signer(self.key, self.algorithm)
        key_id = f"{self.token}-key-{self.number}"
        return [
            sign(form.signing_input(key_id, one, payload))
            for one, payload in zip(self.ids, self.payloads, strict=True)
        ]


@dataclass
class MadeBundle:
    """A job and its bundle. What is given replaces what would be right."""

    batches: Sequence[SignedBatch]
    id_type: str = "bigint"
    signature_format: str = "Raw"
    payloads: bool = True
    state: str = "Complete"
    sealed: bool = True
    dead: Sequence[str] = ()
    revoked: dict[str, timedelta] = field(default_factory=dict)
    """When keys were revoked, by their ids."""
    after_seal: Sequence[SignedBatch] = ()
    """Signed after the seal."""
    added: Collection[str] = ()
    """Ids of keys that are said to be newer than the seal."""
    seal_changes: dict[str, Any] = field(default_factory=dict)
    plan_changes: dict[str, Any] = field(default_factory=dict)
    more_entries: Sequence[bytes] = ()
    alter_entries: Callable[[list[bytes]], list[bytes]] = list
    seal_key: NoteSigningKey = field(
        default_factory=lambda: NoteSigningKey(ORIGIN, Ed25519PrivateKey.generate())
    )

    @property
    def vkey(self) -> str:
        return self.seal_key.public_key.vkey

    @cached_property
    def planned(self) -> list[PlannedBatch]:
        return [
            PlannedBatch(
                number=each.number, first_id=each.ids[0], last_id=each.ids[-1], records=len(each.ids)
            )
            for each in self.batches
        ]

    @cached_property
    def entries(self) -> list[bytes]:
        happened: list[LogEntry] = [
            AuditEntry(
                job_token=TOKEN, number=1, action="create", login="owner", arguments={"name": JOB}, at=STARTED
            ),
            *(
                DeadLetterEntry(
                    job_token=TOKEN,
                    batch=90,
                    record_id=each,
                    reason="PayloadNull",
                    message="It is NULL.",
                    died_at=LATER,
                )
                for each in self.dead
            ),
            *(
                RevocationEntry(
                    job_token=TOKEN,
                    key_id=key_id,
                    public_key_sha256=sha256(self.keys[key_id]).digest(),
                    reason="leaked",
                    revoked_at=STARTED + at,
                )
                for key_id, at in self.revoked.items()
            ),
            AuditEntry(job_token=TOKEN, number=2, action="retry", login="owner", arguments={}, at=LATER),
        ]
        own = [each.signed.data for each in self.batches] + [each.data for each in happened]
        return self.alter_entries([*own, *self.more_entries])

    @cached_property
    def keys(self) -> dict[str, bytes]:
        """SubjectPublicKeyInfo by key id."""
        batches = [*self.batches, *self.after_seal]
        return {f"{TOKEN}-key-{each.number}": public_key_to_bytes(each.key) for each in batches}

    @property
    def algorithm(self) -> Algorithm:
        return self.batches[0].algorithm

    @cached_property
    def plan(self) -> PlanEntry:
        plan = PlanEntry(
            job_token=TOKEN,
            job=JOB,
            source="public.receipts",
            upper_id=self.batches[-1].ids[-1],
            batches=len(self.batches),
            records=sum(len(each.ids) for each in self.batches) + len(self.dead),
            ranges_sha256=ranges_digest(self.planned),
            planned_at=STARTED,
        )
        return replace(plan, **self.plan_changes)

    @cached_property
    def seal(self) -> SealEntry:
        leaves = [leaf_hash(each) for each in self.entries]
        seal = SealEntry(
            job_token=TOKEN,
            job=JOB,
            source="public.receipts",
            upper_id=self.batches[-1].ids[-1],
            state="Complete",
            batches=len(self.batches),
            ranges_sha256=ranges_digest(self.planned),
            signed=sum(len(each.ids) for each in self.batches),
            dead=len(self.dead),
            keys_sha256=keys_digest(
                SealedKey(key_id=key_id, algorithm=self.algorithm, public_key=key)
                for key_id, key in self.keys.items()
                if key_id not in self.added
            ),
            tree_size=len(leaves),
            tree_root=tree_root(leaves),
            sealed_at=LATER,
        )
        return replace(seal, **self.seal_changes)

    @property
    def jwks(self) -> str:
        return jwk_set(
            [
                published_jwk(
                    key,
                    key_id=key_id,
                    algorithm=self.algorithm,
                    state="revoked" if key_id in self.revoked else "active",
                    ended_at=STARTED + self.revoked[key_id] if key_id in self.revoked else None,
                )
                | ({"addedSinceSeal": True} if key_id in self.added else {})
                for key_id, key in self.keys.items()
            ]
        )

    @property
    def pinned(self) -> str:
        """The keys as somebody kept them who does not know of revocations."""
        return replace(self, revoked={}, added=()).jwks

    @property
    def records(self) -> list[BundledRecord]:
        order: dict[str, Callable[[str], Any]] = {"bigint": int, "text": str.encode, "uuid": str}
        found = [
            BundledRecord(
                record_id,
                each.number,
                sha256(payload).digest(),
                signature,
                payload if self.payloads else None,
            )
            for each in [*self.batches, *self.after_seal]
            for record_id, payload, signature in zip(each.ids, each.payloads, each.signatures, strict=True)
        ]
        return sorted(found, key=lambda record: order[self.id_type](record.record_id))

    def write(self, folder: Path) -> None:
        with open_bundle(folder) as writer:
            writer.append("records.jsonl", [])
            writer.add_records(self.records)
            about = AboutBundle(
                job=JOB,
                token=TOKEN,
                origin=ORIGIN if self.sealed else "",
                algorithm=str(self.algorithm),
                signature_format=self.signature_format,
                id_type=self.id_type,
                state=self.state,
                records=writer.records,
                payloads=writer.payloads,
            )
            writer.finish(about, self.jwks)
            if not self.sealed:
                writer.append("statements.jsonl", [each.signed.data for each in self.batches])
                return
            if self.after_seal:
                writer.append("statements.jsonl", [each.signed.data for each in self.after_seal])
            writer.append("log.jsonl", self.entries)
            leaves = [leaf_hash(each) for each in self.entries]
            head = Checkpoint(job_origin(ORIGIN, TOKEN), len(leaves), tree_root(leaves))
            writer.write("checkpoint", sign_checkpoint(head, self.seal_key))
            self._write_installation(writer.write)

    def _write_installation(self, write: Callable[[str, bytes], None]) -> None:
        """Writes the plan and the seal with their proofs; other jobs' entries are between them."""
        entries = [b'{"type":"other"}', self.plan.data, b'{"type":"another"}', self.seal.data, b"{}"]
        leaves = [leaf_hash(each) for each in entries]
        note = sign_checkpoint(Checkpoint(ORIGIN, len(leaves), tree_root(leaves)), self.seal_key)
        for name, index in (("plan", 1), ("seal", 3)):
            write(f"{name}.json", entries[index])
            write(f"{name}.tlog-proof", TlogProof(index, tuple(inclusion_path(leaves, index)), note).data)


def batches_of(
    *sizes: int, algorithm: Algorithm = Algorithm.ECDSA_P256_SHA256, jws: bool = False
) -> list[SignedBatch]:
    """Returns batches of so many records, with numbers from 1 as ids."""
    kind, found, start = SignedJwsBatch if jws else SignedBatch, [], 1
    for number, size in enumerate(sizes, start=1):
        ids = [str(each) for each in range(start, start + size)]
        found.append(kind(number, ids, algorithm, TOKEN))
        start += size
    return found


@dataclass(frozen=True)
class Verdict:
    """What a program says about a bundle."""

    code: int
    output: str

    @property
    def faults(self) -> list[str]:
        return [line for line in self.output.splitlines() if line.lower().startswith("fault: ")]

    @property
    def not_checked(self) -> str:
        return "\n".join(
            line.split(": ", 1)[1]
            for line in self.output.splitlines()
            if line.lower().startswith("not checked: ")
        )


def run_checker(command: Sequence[str | Path], folder: Path, *arguments: str) -> Verdict:
    """Runs a program in another folder than the bundle's, with no database."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    ran = subprocess.run(
        [*command, folder, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )
    return Verdict(ran.returncode, ran.stdout + ran.stderr)


def checkers(programs: Path) -> dict[str, list[str | Path]]:
    """Returns the commands of the programs that are in a bundle, which is not the one that they check."""
    node = find_node()
    python: list[str | Path] = [sys.executable, programs / "verify.py"]
    return {"verify.py": python} | ({"verify.mjs": [node, programs / "verify.mjs"]} if node else {})


def our_verdict(folder: Path, *options: str) -> Verdict:
    """Returns what `vaultstream verify --bundle` finds, in the form of the programs."""
    given: dict[str, list[str]] = {"--seal-key": [], "--keys": []}
    for name, value in zip(options[::2], options[1::2], strict=True):
        given[name].append(value)
    pinned = [PinnedKeys.read(Path(path)) for path in given["--keys"]]
    report = asyncio.run(
        verify_bundle(
            folder,
            seal_keys=parse_verifier_keys(*given["--seal-key"]),
            pinned=pinned[0] if pinned else None,
            processes=1,
        )
    )
    lines = [f"fault: {each}" for each in report.faults] + [
        f"not checked: {each}" for each in report.not_checked
    ]
    lines += [f"key {each} is revoked, after the seal" for each in report.revoked_later]
    lines += [report.unfinished] if report.unfinished else []
    return Verdict(1 if report.fault_count else 0 if report.ok else 3, "\n".join(lines))
