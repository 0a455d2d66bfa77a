"""Whatever a file of a proof contains, it is read as it was written or refused with an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from support.proving import SignedBatch, SignedLog
from vaultstream.api import Algorithm
from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, RevocationEntry
from vaultstream.proof.note import NoteKey, NoteSigningKey, encode_base64
from vaultstream.proof.record_proof import PROOF_FILE, RECORD_FILE, STATEMENT_FILE, ProvenRecord
from vaultstream.proof.seal import PlanEntry, SealEntry
from vaultstream.proof.statement import PAYLOAD_TYPE
from vaultstream.proof.tlog_proof import TlogProof

pytestmark = pytest.mark.unit

LOG = SignedLog([SignedBatch(1, ["1", "2"], Algorithm.ED25519)])
FILES = LOG.proof(0, 0).files
KEY = NoteSigningKey("example.com/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
VALUES = st.recursive(
    st.text(max_size=5) | st.integers() | st.none() | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
ENTRIES = (DeadLetterEntry, RevocationEntry, AuditEntry, PlanEntry, SealEntry)
OF_TYPE = {
    "str": "a",
    "int": 1,
    "bytes": bytes(32),
    "datetime": datetime(2026, 1, 2, tzinfo=UTC),
    "Mapping[str, str]": {"a": "b"},
}
"""A value for each type of a field."""
READERS: dict[str, Callable[[bytes], Any]] = {
    "record": ProvenRecord.parse,
    "statement": StatementEnvelope.parse,
    "proof": TlogProof.parse,
    "note": lambda data: open_checkpoint(data, [LOG.seal_key.public_key], origin=LOG.origin),
    "verifier key": lambda data: NoteKey.parse(data.decode(errors="surrogateescape")),
    "signer key": lambda data: NoteSigningKey.parse(data.decode(errors="surrogateescape")),
    "witness's key": lambda data: CosignerKey.parse(data.decode(errors="surrogateescape")),
    **{entry.__name__: entry.parse for entry in ENTRIES},
}
RIGHT = {
    "record": FILES[RECORD_FILE],
    "statement": FILES[STATEMENT_FILE],
    "proof": FILES[PROOF_FILE],
    "note": LOG.checkpoint(),
    "verifier key": KEY.public_key.vkey.encode(),
    "signer key": KEY.skey.encode(),
}


def read(reader: str, data: bytes) -> None:
    try:
        value = READERS[reader](data)
    except ProofError:
        return
    if hasattr(value, "data"):
        assert value.data == data


@pytest.mark.parametrize("reader", READERS)
@given(data=st.data())
def test_any_bytes_are_refused_with_an_error_of_ours(reader: str, data: st.DataObject) -> None:
    right = RIGHT.get(reader, FILES[RECORD_FILE])
    start, end = sorted((data.draw(st.integers(0, len(right))), data.draw(st.integers(0, len(right)))))
    read(reader, right[:start] + data.draw(st.binary(max_size=8)) + right[end:])


@pytest.mark.parametrize("reader", ["record", "statement"])
@given(data=st.data())
def test_any_members_are_refused_with_an_error_of_ours(reader: str, data: st.DataObject) -> None:
    values = json.loads(RIGHT[reader])
    name = data.draw(st.sampled_from(sorted(values)))
    read(reader, loose(values | {name: data.draw(VALUES)}))


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), st.data())
def test_any_body_of_a_statement_is_refused_with_an_error_of_ours(
    extra: dict[str, Any], data: st.DataObject
) -> None:
    body = json.loads(LOG.batches[0].signed.body) | extra
    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(VALUES)
    envelope = {
        "payload": encode_base64(loose(body)),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": str(body.get("keyId")).encode("utf-8", "replace").decode(), "sig": "AA=="}],
    }
    read("statement", canonical_text(envelope).encode())


@pytest.mark.parametrize("entry", ENTRIES)
@given(data=st.data())
def test_any_members_of_an_entry_are_refused_with_an_error_of_ours(entry: Any, data: st.DataObject) -> None:
    values = json.loads(entry(**{field.name: OF_TYPE[field.type] for field in fields(entry)}).data)
    name = data.draw(st.sampled_from(sorted(values)))
    read(entry.__name__, loose(values | {name: data.draw(VALUES)}))


def loose(value: Any) -> bytes:
    """Returns JSON that may be anything but canonical."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
