"""The files of a record's proof: each has one text, and anything else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.proving import SignedBatch, SignedLog, refusal
from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text, parse_canonical
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.record_proof import RECORD_FILE, STATEMENT_FILE, ProvenRecord, RecordProof

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def log() -> SignedLog:
    return SignedLog([SignedBatch(1, ["1", "2", "3"]), SignedBatch(2, ["4"])])


def test_a_proof_is_read_as_it_was_written(log: SignedLog) -> None:
    for batch, record in ((0, 0), (0, 2), (1, 0)):
        proof = log.proof(batch, record)
        assert RecordProof.parse(proof.files) == proof
        assert refusal(log.proven(batch, record)) is None


def test_an_envelope_is_canonical_json_of_dsse(log: SignedLog) -> None:
    envelope = json.loads(log.batches[0].signed.data)
    assert envelope["payloadType"] == "application/vnd.vaultstream.batch-statement.v1+json"
    assert [each["keyid"] for each in envelope["signatures"]] == ["job1-key-1"]
    assert canonical_text(envelope).encode() == log.batches[0].signed.data


def test_the_body_of_a_statement_is_canonical_too(log: SignedLog) -> None:
    body = log.batches[0].signed.body
    assert canonical_text(parse_canonical(body.encode())) == body


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("payload"),
        lambda values: values.pop("signatures"),
        lambda values: values.update(signatures=[]),
        lambda values: values.update(signatures="a"),
        lambda values: values.update(signatures=[*values["signatures"], *values["signatures"]]),
        lambda values: values.update(signatures=["a"]),
        lambda values: values["signatures"][0].update(keyid="other"),
        lambda values: values["signatures"][0].update(more="a"),
        lambda values: values["signatures"][0].pop("keyid"),
        lambda values: values["signatures"][0].update(sig="*"),
        lambda values: values["signatures"][0].update(sig=1),
        lambda values: values.update(payload="*"),
        lambda values: values.update(payload="/w=="),
        lambda values: values.update(payload="e30="),
        lambda values: values.update(payload=1),
        lambda values: values.update(payloadType="other"),
        lambda values: values.update(more="a"),
    ],
)
def test_an_envelope_of_anything_else_is_refused(log: SignedLog, change: Callable[[Any], Any]) -> None:
    values = json.loads(log.proof(0, 0).files[STATEMENT_FILE])
    change(values)
    with pytest.raises(ProofError):
        StatementEnvelope.parse(canonical_text(values).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("id"),
        lambda values: values.update(id=1),
        lambda values: values.update(index="0"),
        lambda values: values.update(index=[0]),
        lambda values: values.update(path="ab"),
        lambda values: values.update(path=[1]),
        lambda values: values.update(path=["AB" * 32]),
        lambda values: values.update(path=["a b"]),
        lambda values: values.update(payloadSha256=1),
        lambda values: values.update(payloadSha256="AB" * 32),
        lambda values: values.update(signature="*"),
        lambda values: values.update(signature=["a"]),
        lambda values: values.update(more="a"),
    ],
)
def test_a_record_of_anything_else_is_refused(log: SignedLog, change: Callable[[Any], Any]) -> None:
    values = json.loads(log.proof(0, 0).files[RECORD_FILE])
    change(values)
    with pytest.raises(ProofError):
        ProvenRecord.parse(canonical_text(values).encode())
