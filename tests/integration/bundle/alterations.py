"""What is altered in a bundle, each alteration by its name."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from support.bundles import TOKEN, MadeBundle, batches_of
from vaultstream.crypto.algorithms import generate_private_key, public_key_jwk, public_key_to_bytes
from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.proof.canonical import canonical_text
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.seal import job_origin

Change = Callable[[Path], None]
Lines = list[bytes]


@dataclass(frozen=True)
class Folder:
    """A bundle to alter."""

    path: Path

    def lines(self, name: str, change: Callable[[Lines], Lines]) -> None:
        lines = (self.path / name).read_bytes().splitlines()
        (self.path / name).write_bytes(b"".join(line + b"\n" for line in change(lines)))

    def member(self, name: str, line: int, **changes: Any) -> None:
        """Changes members of a line, or of a file if it is one object; a function changes what is there."""

        def changed(data: bytes) -> bytes:
            values = json.loads(data)
            for member, value in changes.items():
                values[member] = value(values[member]) if callable(value) else value
            return canonical_text(values).encode()

        path = self.path / name
        if name.endswith(".json"):
            path.write_bytes(changed(path.read_bytes()))
        else:
            self.lines(name, lambda all_: [*all_[:line], changed(all_[line]), *all_[line + 1 :]])

    def without(self, name: str, member: str) -> None:
        values = json.loads((self.path / name).read_bytes())
        del values[member]
        (self.path / name).write_bytes(canonical_text(values).encode())

    def record(self, line: int, **changes: Any) -> None:
        self.member("records.jsonl", line, **changes)

    def text(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text
        (self.path / name).write_text(text.replace(old, new, 1))

    def keys(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        keys = json.loads((self.path / "keys.jwks").read_text())["keys"]
        (self.path / "keys.jwks").write_text(json.dumps({"keys": change(keys)}))


def flipped(text: str) -> str:
    data = bytearray(b64decode(text))
    data[-1] ^= 1
    return b64encode(data).decode()


def high_s(text: str) -> str:
    r, s = decode_dss_signature(b64decode(text))
    return b64encode(encode_dss_signature(r, P256_ORDER - s)).decode()


def swapped(folder: Folder) -> None:
    """Records 2 and 3 have each other's digest, signature and payload."""
    one, other = (json.loads(line) for line in (folder.path / "records.jsonl").read_bytes().splitlines()[1:3])
    folder.record(1, **{name: other[name] for name in ("sha256", "signature", "payload")})
    folder.record(2, **{name: one[name] for name in ("sha256", "signature", "payload")})


def without_last_batch(folder: Folder) -> None:
    folder.lines("records.jsonl", lambda lines: lines[:6])
    folder.lines("log.jsonl", lambda lines: [*lines[:2], *lines[3:]])
    folder.member("bundle.json", 0, records=6, payloads=6)


def unsealed(folder: Folder) -> None:
    """The seal is removed, and with it the last batch."""
    without_last_batch(folder)
    folder.lines("log.jsonl", lambda lines: lines[:2])
    (folder.path / "log.jsonl").rename(folder.path / "statements.jsonl")
    for name in ("seal.json", "seal.tlog-proof", "plan.json", "plan.tlog-proof", "checkpoint"):
        (folder.path / name).unlink()
    folder.member("bundle.json", 0, origin="")


def emptied(folder: Folder) -> None:
    folder.lines("records.jsonl", lambda _: [])
    folder.member("bundle.json", 0, records=0, payloads=0)


def emptied_with_its_log(folder: Folder) -> None:
    emptied(folder)
    folder.lines("log.jsonl", lambda _: [])


def under_own_key(folder: Folder) -> None:
    """Batch 2 is signed again, and stated, by a key of the forger's, which has the id of the job's."""
    [forged] = batches_of(5, 1)[1:]
    folder.keys(
        lambda keys: [
            keys[0],
            public_key_jwk(
                public_key_to_bytes(forged.key), key_id=keys[1]["kid"], algorithm=forged.algorithm
            ),
            keys[2],
        ]
    )
    folder.lines("log.jsonl", lambda lines: [lines[0], forged.signed.data, *lines[2:]])
    folder.record(5, signature=b64encode(forged.signatures[0]).decode())


def with_more_keys(folder: Folder) -> None:
    spki = public_key_to_bytes(generate_private_key(batches_of(1)[0].algorithm))
    jwk = public_key_jwk(spki, key_id="another", algorithm=batches_of(1)[0].algorithm)
    folder.keys(lambda keys: [*keys, jwk])


def linked(folder: Folder) -> None:
    (folder.path / "records.jsonl").rename(folder.path.parent / "elsewhere")
    (folder.path / "records.jsonl").symlink_to(folder.path.parent / "elsewhere")


def piped(folder: Folder) -> None:
    (folder.path / "checkpoint").unlink()
    os.mkfifo(folder.path / "checkpoint")


def endless(folder: Folder) -> None:
    with (folder.path / "records.jsonl").open("r+b") as file:
        file.truncate(200 << 20)  # sparse: one line of zeros


def cut_off(folder: Folder) -> None:
    data = (folder.path / "records.jsonl").read_bytes()
    (folder.path / "records.jsonl").write_bytes(data[:-1])


def spaced(folder: Folder) -> None:
    folder.lines("records.jsonl", lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]])


def without_a_payload(folder: Folder) -> None:
    text = (folder.path / "records.jsonl").read_text()
    (folder.path / "records.jsonl").write_text(re.sub('"payload":"[^"]*"', '"payload":null', text, count=1))


def shortened(folder: Folder, name: str) -> None:
    data = (folder.path / name).read_bytes()
    (folder.path / name).write_bytes(data[:-1])


def nested(folder: Folder) -> None:
    folder.lines("log.jsonl", lambda lines: [*lines, b"[" * 100_000])


def outside_of_the_log(folder: Folder, kind: str) -> None:
    """An entry of the log is a line of statements.jsonl too, which nothing signs."""
    lines = (folder.path / "log.jsonl").read_bytes().splitlines(keepends=True)
    (folder.path / "statements.jsonl").write_bytes([one for one in lines if f".{kind}.".encode() in one][-1])


def shorter_checkpoint(folder: Folder, made: MadeBundle) -> None:
    """The checkpoint of an earlier state of the log, signed by the seal key."""
    entries = made.entries[:2]
    head = Checkpoint(
        job_origin(made.seal_key.name, TOKEN), 2, tree_root([leaf_hash(each) for each in entries])
    )
    (folder.path / "checkpoint").write_bytes(sign_checkpoint(head, made.seal_key))


RECORD_2 = r"record '?2'?( |$)"
ALTERATIONS: dict[str, tuple[Callable[[Folder], None], str]] = {
    "a record is dropped": (lambda f: f.lines("records.jsonl", lambda each: each[:2] + each[3:]), "batch 1"),
    "a record is added": (
        lambda f: f.lines("records.jsonl", lambda each: [*each, each[-1].replace(b'"9"', b'"99"')]),
        "99|batch 3",
    ),
    "a record is there twice": (
        lambda f: f.lines("records.jsonl", lambda each: [each[0], *each]),
        "not above",
    ),
    "records are in another order": (
        lambda f: f.lines("records.jsonl", lambda each: each[::-1]),
        "not above",
    ),
    "two records are swapped": (swapped, "batch 1"),
    "a record has another id": (lambda f: f.record(8, id="10"), "batch 3"),
    "a record is in another batch": (lambda f: f.record(4, batch=2), "batch 2"),
    "a record's batch is a fraction": (
        lambda f: f.text("records.jsonl", '"batch":1', '"batch":1.0'),
        "under no statement|canonical|[Bb]atch",
    ),
    "a record's batch is no number": (
        lambda f: f.text("records.jsonl", '"batch":1', '"batch":true'),
        "under no statement|canonical|[Bb]atch",
    ),
    "the checkpoint's last line has no end": (lambda f: shortened(f, "checkpoint"), "no end|malformed|line"),
    "the seal's proof has no end": (lambda f: shortened(f, "seal.tlog-proof"), "no end|malformed|line"),
    "the keys begin with a byte order mark": (
        lambda f: (f.path / "keys.jwks").write_bytes(b"\xef\xbb\xbf" + (f.path / "keys.jwks").read_bytes()),
        "BOM|JSON|keys",
    ),
    "a record is in no batch": (lambda f: f.record(4, batch=0), "under no statement"),
    "a signature is altered": (lambda f: f.record(1, signature=flipped), RECORD_2),
    "a signature is another record's": (
        lambda f: f.record(
            1, signature=json.loads((f.path / "records.jsonl").read_bytes().split()[0])["signature"]
        ),
        RECORD_2,
    ),
    "a signature has its other form": (lambda f: f.record(1, signature=high_s), "batch 1"),
    "a signature is no base64": (lambda f: f.record(1, signature="!"), "base64|malformed|canonical"),
    "a payload is altered": (
        lambda f: f.record(1, payload=b64encode(b"x").decode()),
        "payload of record '?2",
    ),
    "a payload and its digest are altered": (
        lambda f: f.record(1, payload=b64encode(b"x").decode(), sha256=sha256(b"x").hexdigest()),
        RECORD_2,
    ),
    "a payload is removed, and its digest altered": (
        lambda f: f.lines(
            "records.jsonl", lambda each: [each[0], altered_without_payload(each[1]), *each[2:]]
        ),
        "batch 1",
    ),
    "a statement is removed": (lambda f: f.lines("log.jsonl", lambda each: each[1:]), "under no statement"),
    "a statement is another batch's": (
        lambda f: f.lines("log.jsonl", lambda each: [each[1], *each[1:]]),
        "twice",
    ),
    "a statement's time is set back": (
        lambda f: restate(f, signedAt="2025-01-02T03:04:06.678901Z"),
        "batch 1",
    ),
    "a statement counts fewer records": (lambda f: restate(f, count=4), "batch 1"),
    "a statement has another last id": (lambda f: restate(f, lastId="4"), "batch 1"),
    "a statement is of another job": (
        lambda f: restate(f, jobToken="other-1a2b3c4d"),
        "another|not valid|not signed",
    ),
    "the log is in another order": (
        lambda f: f.lines("log.jsonl", lambda each: [each[1], each[0], *each[2:]]),
        "log.jsonl",
    ),
    "a dead letter is removed from the log": (
        lambda f: f.lines("log.jsonl", lambda each: [one for one in each if b'"recordId":"10"' not in one]),
        "log.jsonl",
    ),
    "a revocation is removed from the log": (
        lambda f: f.lines("log.jsonl", lambda each: [one for one in each if b"revocation" not in one]),
        "log.jsonl",
    ),
    "an audit event is removed from the log": (
        lambda f: f.lines("log.jsonl", lambda each: [one for one in each if b'"number":1' not in one]),
        "[Aa]udit event 1",
    ),
    "the log has an unknown entry": (
        lambda f: f.lines("log.jsonl", lambda each: [*each, b'{"type":"x"}']),
        "unknown",
    ),
    **{
        f"an entry of the log ({kind}) is outside of it": (
            partial(outside_of_the_log, kind=kind),
            "statements.jsonl|not in the log",
        )
        for kind in ("dead-letter", "revocation", "audit-event")
    },
    "the log is nested too deeply": (nested, "canonical|ecursion|deep|stack|JSON"),
    "the last batch is gone with its statement": (without_last_batch, "log.jsonl"),
    "all records are gone": (emptied, "batch 1"),
    "all is gone but the seal": (emptied_with_its_log, "log.jsonl"),
    "the seal is removed": (unsealed, "no seal"),
    "a batch is signed by a key of somebody else": (under_own_key, "log.jsonl|keys"),
    "the keys have one more": (with_more_keys, "keys"),
    "the keys lack one that signed": (lambda f: f.keys(lambda each: each[1:]), "batch 1"),
    "the keys have one twice": (lambda f: f.keys(lambda each: [*each, each[0]]), "twice"),
    "the keys are no set of keys": (
        lambda f: (f.path / "keys.jwks").write_text("[]"),
        "keys|list|indices|iterable",
    ),
    "the seal has other numbers": (lambda f: f.member("seal.json", 0, signed=8), "seal.json"),
    "the seal has another time": (
        lambda f: f.member("seal.json", 0, sealedAt="2025-01-02T04:04:05.678901Z"),
        "seal.json",
    ),
    "the seal is the plan": (
        lambda f: (f.path / "seal.json").write_bytes((f.path / "plan.json").read_bytes()),
        "seal.json|seal",
    ),
    "the seal's proof has another index": (
        lambda f: f.text("seal.tlog-proof", "index 3", "index 2"),
        "seal.json|proof",
    ),
    "the seal's proof has another checkpoint": (
        lambda f: (f.path / "seal.tlog-proof").write_bytes(
            (f.path / "seal.tlog-proof").read_bytes().partition(b"\n\n")[0]
            + b"\n\n"
            + (f.path / "checkpoint").read_bytes()
        ),
        "checkpoint",
    ),
    "the plan has other numbers": (lambda f: f.member("plan.json", 0, records=12), "plan.json"),
    "the plan's proof is gone": (lambda f: (f.path / "plan.tlog-proof").unlink(), "plan.tlog-proof"),
    "the checkpoint has another size": (lambda f: f.text("checkpoint", "\n8\n", "\n7\n"), "not valid|signed"),
    "the checkpoint is of another job": (
        lambda f: f.text("checkpoint", TOKEN, "other-1a2b3c4d"),
        "not valid|signed",
    ),
    "the checkpoint has no signature": (
        lambda f: (f.path / "checkpoint").write_text(
            (f.path / "checkpoint").read_text().split("\n\n")[0] + "\n"
        ),
        "signed|malformed|note|unpack",
    ),
    "it is of another token": (lambda f: f.member("bundle.json", 0, token="other-1a2b3c4d"), "another"),
    "it is of a job with another name": (lambda f: f.member("bundle.json", 0, job="other"), "job"),
    "it is of another installation": (
        lambda f: f.member("bundle.json", 0, origin="vaultstream-other"),
        "log|signed",
    ),
    "it is of another version": (lambda f: f.member("bundle.json", 0, version=2), "version"),
    "it has another format of signatures": (
        lambda f: f.member("bundle.json", 0, signatureFormat="JWS"),
        "signature of record",
    ),
    "it has another number of records": (lambda f: f.member("bundle.json", 0, records=10), "10"),
    "it has another number of payloads": (lambda f: f.member("bundle.json", 0, payloads=0), "0"),
    "it has a number of payloads that is none": (
        lambda f: f.text("bundle.json", '"payloads":9', '"payloads":true'),
        "bundle.json|canonical",
    ),
    "it has a member more": (lambda f: f.member("bundle.json", 0, approvedBy="the auditor"), "bundle.json"),
    "it has a member less": (lambda f: f.without("bundle.json", "idType"), "bundle.json"),
    "it is of another algorithm": (
        lambda f: f.member("bundle.json", 0, algorithm="RSA_PSS_3072_SHA256"),
        "another|for RSA",
    ),
    "it is of an unknown algorithm": (
        lambda f: f.member("bundle.json", 0, algorithm="ROT13"),
        "bundle.json|ROT13",
    ),
    "its ids are of another type": (lambda f: f.member("bundle.json", 0, idType="uuid"), "type"),
    "its ids are of an unknown type": (
        lambda f: f.member("bundle.json", 0, idType="toString"),
        "bundle.json|type",
    ),
    "its signatures are of an unknown format": (
        lambda f: f.member("bundle.json", 0, signatureFormat="Raaw"),
        "bundle.json",
    ),
    "a record has a member more": (lambda f: f.record(0, amount="1000000"), "members"),
    "a record's payload is null": (without_a_payload, "record '?1|canonical|null|NoneType|bytes"),
    "a record's digest is in capitals": (
        lambda f: f.record(0, sha256=str.upper),
        "canonical|members",
    ),
    "the records are a link": (linked, "link|regular|read"),
    "the checkpoint is a pipe": (piped, "no file|no regular file"),
    "the records have an endless line": (endless, "line"),
    "the last line is cut off": (cut_off, "end"),
    "a line has spaces": (spaced, "canonical"),
    "the log is missing": (lambda f: (f.path / "log.jsonl").unlink(), "log.jsonl"),
}
"""Each makes of a genuine bundle one that must be refused, and what each verifier's first fault must name."""


def altered_without_payload(line: bytes) -> bytes:
    values = json.loads(line)
    del values["payload"]
    values["sha256"] = sha256(b"x").hexdigest()
    return canonical_text(values).encode()


def restate(folder: Folder, **changes: Any) -> None:
    """Changes the statement of batch 1 without its key."""

    def changed(payload: str) -> str:
        body = {**json.loads(b64decode(payload)), **changes}
        return b64encode(canonical_text(body).encode()).decode()

    folder.member("log.jsonl", 0, payload=changed)
