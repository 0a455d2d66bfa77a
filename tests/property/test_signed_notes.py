"""Notes, checkpoints and proofs: what is written is read, and no byte of them can change unseen."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.merkle import inclusion_path, leaf_hash, tree_root
from vaultstream.proof.note import NoteSigningKey, decode_base64, open_note, sign_note
from vaultstream.proof.tlog_proof import TlogProof

pytestmark = pytest.mark.unit

ORIGIN = "example.com/log"
KEY = NoteSigningKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.just("\n"), max_size=50)
LINES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
HASHES = st.binary(min_size=32, max_size=32)


@given(TEXTS)
def test_any_text_is_signed_and_opened(body: str) -> None:
    text = f"{body}\n"
    assert open_note(sign_note(text, KEY), [KEY.public_key]).text == text


@given(LINES, st.integers(0, 2**63 - 1), HASHES, st.lists(LINES, max_size=3))
def test_any_checkpoint_is_read_as_it_was_written(
    origin: str, size: int, root: bytes, extensions: list[str]
) -> None:
    head = Checkpoint(origin, size, root, tuple(extensions))
    assert Checkpoint.parse(head.text) == head


@given(st.text(max_size=60))
def test_a_text_is_a_checkpoint_only_if_it_is_written_that_way(text: str) -> None:
    try:
        head = Checkpoint.parse(text)
    except ProofError:
        return
    assert head.text == text


@given(
    st.integers(0, 2**63 - 2), st.lists(HASHES, max_size=63), st.binary(max_size=50), st.binary(max_size=50)
)
def test_any_proof_is_read_as_it_was_written(
    index: int, path: list[bytes], checkpoint: bytes, extra: bytes
) -> None:
    proof = TlogProof(index, tuple(path), checkpoint, extra)
    assert TlogProof.parse(proof.data) == proof


@given(st.integers(1, 40), st.data())
def test_a_proof_with_any_byte_altered_dropped_or_added_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree_root(leaves)), KEY)
    right = TlogProof(index, tuple(inclusion_path(leaves, index)), note).data
    place = data.draw(st.integers(0, len(right) - 1))
    middle = data.draw(st.binary(max_size=2))
    wrong = right[:place] + middle + right[place + 1 :]
    assume(wrong != right)
    with pytest.raises(ProofError):
        TlogProof.parse(wrong).verify(leaves[index], [KEY.public_key], origin=ORIGIN)


@given(st.text(st.sampled_from("ABw/+=_- \n0"), max_size=12))
def test_two_texts_in_base64_are_never_the_same_data(text: str) -> None:
    data = decode_base64(text)
    assert data is None or (len(text) % 4 == 0 and len(data) == len(text) // 4 * 3 - text.count("="))
