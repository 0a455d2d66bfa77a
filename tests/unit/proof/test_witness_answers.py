"""What a witness answers, and what is made of it: statuses of https://c2sp.org/tlog-witness, and all that is no answer."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstream.errors import WitnessError
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.cosignature import Cosigner
from vaultstream.proof.note import NoteSigningKey
from vaultstream.proof.witness import SIZE_TYPE, Behind, WitnessRefusal, add_checkpoint_body, read_answer

pytestmark = pytest.mark.unit

HEAD = Checkpoint("example.com/log", 20, bytes(32))
WITNESS = Cosigner("witness.example.com/w1", Ed25519PrivateKey.generate(), 1_700_000_000)
OTHER = Cosigner("witness.example.com/w1", Ed25519PrivateKey.generate(), 1_700_000_000)
LINE = WITNESS.line(HEAD.text)
OF_ANOTHER_SIZE = WITNESS.line(Checkpoint(HEAD.origin, 19, HEAD.root).text)


def answer(status: int, body: str | bytes = "", kind: str = "text/plain") -> str | Behind:
    data = body if isinstance(body, bytes) else body.encode()
    return read_answer(WITNESS.public_key, HEAD, status=status, kind=kind, body=data)


def test_a_request_is_the_old_size_the_proof_and_the_checkpoint() -> None:
    note = sign_checkpoint(HEAD, NoteSigningKey(HEAD.origin, Ed25519PrivateKey.generate()))
    assert add_checkpoint_body(0, [], note) == b"old 0\n\n" + note
    hashes = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    assert add_checkpoint_body(3, [bytes(32)] * 2, note) == f"old 3\n{hashes}{hashes}\n".encode() + note


@pytest.mark.parametrize("lines", [LINE, OTHER.line(HEAD.text) + LINE, LINE * 2])
def test_of_an_answer_only_the_cosignature_of_the_witness_is_taken(lines: str) -> None:
    assert answer(200, lines) == LINE


def test_a_witness_says_which_size_it_has_seen() -> None:
    assert answer(409, "12\n", SIZE_TYPE) == Behind(12)
    assert answer(409, "0", SIZE_TYPE) == Behind(0)


@pytest.mark.parametrize(
    ("status", "body", "kind", "refusal"),
    [
        (404, "", "", WitnessRefusal.UNKNOWN_LOG),
        (403, "", "", WitnessRefusal.UNKNOWN_KEY),
        (409, "", "text/plain", WitnessRefusal.INCONSISTENT),
        (422, "", "", WitnessRefusal.INCONSISTENT),
        (400, "", "", WitnessRefusal.OTHER),
        (302, "", "", WitnessRefusal.OTHER),
        (500, "", "", WitnessRefusal.OTHER),
        (204, "", "", WitnessRefusal.OTHER),
        (409, "012\n", SIZE_TYPE, WitnessRefusal.MALFORMED),
        (409, "-1\n", SIZE_TYPE, WitnessRefusal.MALFORMED),
        (409, "9999999999999999999\n", SIZE_TYPE, WitnessRefusal.MALFORMED),
        (409, "twelve", SIZE_TYPE, WitnessRefusal.MALFORMED),
        (409, b"\xff", SIZE_TYPE, WitnessRefusal.MALFORMED),
        (200, "", "", WitnessRefusal.MALFORMED),
        (200, b"\xff\n", "", WitnessRefusal.MALFORMED),
        (200, "<html>\n", "", WitnessRefusal.MALFORMED),
        (200, f"\n{LINE}", "", WitnessRefusal.MALFORMED),
        (200, OTHER.line(HEAD.text), "", WitnessRefusal.MALFORMED),
        (200, OF_ANOTHER_SIZE, "", WitnessRefusal.MALFORMED),
    ],
)
def test_any_other_answer_is_a_refusal_and_says_why(
    status: int, body: str | bytes, kind: str, refusal: WitnessRefusal
) -> None:
    with pytest.raises(WitnessError) as error:
        answer(status, body, kind)
    assert error.value.refusal == refusal
    assert WITNESS.name in error.value.message
