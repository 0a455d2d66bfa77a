"""Witnesses as they are configured."""

from __future__ import annotations

import pytest

from vaultstream.errors import ProofError, UsageError
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.proof.note import NoteKey
from vaultstream.sealing.witness import parse_witnesses

pytestmark = pytest.mark.unit

ONE, TWO = (CosignerKey(f"witness.example.com/w{each}", bytes([each]) * 32) for each in (1, 2))


def test_witnesses_are_separated_by_commas_or_lines() -> None:
    text = f"{ONE.vkey} https://w1.example.com/, \n{TWO.vkey}  http://localhost:7380/w2\n"
    one, two = parse_witnesses(text)
    assert (one.key, one.submit.url) == (ONE, "https://w1.example.com/add-checkpoint")
    assert (two.key, two.submit.url) == (TWO, "http://localhost:7380/w2/add-checkpoint")
    assert parse_witnesses("") == ()


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE.vkey} http://w1.example.com",
        f"{ONE.vkey} http://10.0.0.1",
        ONE.vkey,
        f"{ONE.vkey} https://w1.example.com more",
        f"{ONE.vkey} w1.example.com",
        f"{ONE.vkey} https://a.example.com,{ONE.vkey} https://b.example.com",
    ],
)
def test_a_witness_that_can_not_be_asked_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_witnesses(text)
    assert error.value.hint


@pytest.mark.parametrize("vkey", [NoteKey(ONE.name, ONE.public).vkey, ONE.vkey[:-4]])
def test_a_key_that_is_no_witness_s_is_refused(vkey: str) -> None:
    with pytest.raises(ProofError):
        parse_witnesses(f"{vkey} https://w1.example.com")
