"""A witness that is not ours cosigns a log that grows, and refuses one that was rolled back or altered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.litewitness import LiteWitness
from support.proving import path_over
from vaultstream.errors import WitnessError
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.note import NoteSigningKey, add_signatures
from vaultstream.proof.witness import WitnessRefusal
from vaultstream.sealing.witness import cosign

pytestmark = pytest.mark.integration

ORIGIN = "vaultstream-0123abcd"
LEAVES = [leaf_hash(bytes([each])) for each in range(20)]


@dataclass
class Grown:
    """A log at several sizes, and who signs its checkpoints."""

    key: NoteSigningKey = field(default_factory=lambda: NoteSigningKey(ORIGIN, Ed25519PrivateKey.generate()))
    leaves: list[bytes] = field(default_factory=LEAVES.copy)

    def note(self, size: int) -> bytes:
        return sign_checkpoint(Checkpoint(ORIGIN, size, tree_root(self.leaves[:size])), self.key)

    async def offered(self, to: LiteWitness, size: int, seen: int = 0) -> bytes:
        """Returns the checkpoint of that size with the cosignature."""
        note = self.note(size)
        signed = open_checkpoint(note, [self.key.public_key], origin=ORIGIN)
        return add_signatures(
            note, await cosign(to.witness, signed, note, path_over(self.leaves[:size]), seen=seen)
        )


@pytest.fixture
def grown(litewitness: LiteWitness) -> Grown:
    """A log that the witness knows, and has not seen."""
    made = Grown()
    litewitness.know(ORIGIN, made.key.public_key)
    return made


async def refused(grown: Grown, witness: LiteWitness, size: int, seen: int = 0) -> WitnessRefusal:
    with pytest.raises(WitnessError) as error:
        await grown.offered(witness, size, seen)
    assert error.value.hint
    return WitnessRefusal(error.value.refusal)


@pytest.mark.parametrize("grow", [1, 7, 8, 13, 20])
async def test_the_first_checkpoint_and_each_larger_one_are_cosigned(
    grown: Grown, litewitness: LiteWitness, grow: int
) -> None:
    key = litewitness.witness.key
    for size, seen in ((grow, 0), (20, grow)):
        note = await grown.offered(litewitness, size, seen)
        opened = open_checkpoint(note, [grown.key.public_key], origin=ORIGIN, witnesses=[key])
        assert opened.witnesses([key]) == {key.name}
        assert opened.checkpoint.size == size


async def test_a_witness_that_has_seen_another_size_is_asked_again(
    grown: Grown, litewitness: LiteWitness
) -> None:
    await grown.offered(litewitness, 5)
    for believed in (0, 3, 20):
        assert await grown.offered(litewitness, 20, believed)


async def test_the_same_checkpoint_is_cosigned_again(grown: Grown, litewitness: LiteWitness) -> None:
    for _ in range(2):
        assert await grown.offered(litewitness, 5)


async def test_a_log_that_was_rolled_back_is_refused(grown: Grown, litewitness: LiteWitness) -> None:
    await grown.offered(litewitness, 13)
    with pytest.raises(WitnessError, match=r"has seen 13 entries .* which has 12 now") as error:
        await grown.offered(litewitness, 12)
    assert error.value.refusal == WitnessRefusal.INCONSISTENT
    assert error.value.hint


@pytest.mark.parametrize("size", [13, 14, 20])
async def test_a_log_with_an_altered_entry_is_refused(
    grown: Grown, litewitness: LiteWitness, size: int
) -> None:
    await grown.offered(litewitness, 13)
    altered = replace(grown, leaves=[*LEAVES[:4], leaf_hash(b"other"), *LEAVES[5:]])
    assert await refused(altered, litewitness, size, seen=13) == WitnessRefusal.INCONSISTENT
    assert await refused(altered, litewitness, size) == WitnessRefusal.INCONSISTENT


async def test_a_log_that_a_witness_does_not_know_is_refused(litewitness: LiteWitness) -> None:
    """This witness says of an unknown log what the specification says of an unknown key."""
    assert await refused(Grown(), litewitness, 5) == WitnessRefusal.UNKNOWN_KEY


async def test_a_rotated_seal_key_is_refused_until_the_witness_knows_it(
    grown: Grown, litewitness: LiteWitness
) -> None:
    await grown.offered(litewitness, 5)
    rotated = Grown()
    assert await refused(rotated, litewitness, 6) == WitnessRefusal.UNKNOWN_KEY
    litewitness.know(ORIGIN, rotated.key.public_key)
    assert await rotated.offered(litewitness, 6)


async def test_a_cosignature_by_another_key_than_the_configured_one_is_none(
    grown: Grown, litewitness: LiteWitness
) -> None:
    other = CosignerKey(
        litewitness.witness.key.name, Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    )
    deceived = replace(litewitness, witness=replace(litewitness.witness, key=other))
    assert await refused(grown, deceived, 5) == WitnessRefusal.MALFORMED
