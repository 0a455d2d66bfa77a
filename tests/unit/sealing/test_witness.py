"""Witnesses as they are configured."""

from __future__ import annotations

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.proving import path_over
from vaultstream.errors import ProofError, UsageError, WitnessError
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.note import NoteKey, NoteSigningKey
from vaultstream.proof.witness import WitnessRefusal
from vaultstream.sealing.witness import Witness, cosign, parse_witnesses

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


async def test_a_witness_is_waited_for_no_longer_when_it_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vaultstream.sealing.witness.OFFER_SECONDS", 1.0)
    asked = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.7)
        writer.write(
            b"HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\nContent-Length: 2\r\n\r\n1\n"
        )
        writer.close()

    leaves = [leaf_hash(b"1"), leaf_hash(b"2")]
    key = NoteSigningKey("log.example.com", Ed25519PrivateKey.generate())
    note = sign_checkpoint(Checkpoint(key.name, 2, tree_root(leaves)), key)
    signed = open_checkpoint(note, [key.public_key], origin=key.name)
    async with await asyncio.start_server(slow, "127.0.0.1", 0) as server:
        witness = Witness.parse(f"{ONE.vkey} http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(WitnessError) as error:
            await cosign(witness, signed, note, path_over(leaves))
    assert (error.value.refusal, asked) == (WitnessRefusal.UNREACHABLE, 2)


def test_what_is_no_witness_is_refused_with_the_name_of_the_setting() -> None:
    with pytest.raises(UsageError) as raised:
        parse_witnesses("foo")
    assert "VAULTSTREAM_WITNESSES" in str(raised.value.hint)
