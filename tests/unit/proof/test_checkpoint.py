"""Checkpoints, cosignatures and proofs of logs, line by line against their specifications."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from vaultstream.proof.cosignature import Cosigner, CosignerKey, cosignature_time
from vaultstream.proof.merkle import inclusion_path, leaf_hash, tree_root
from vaultstream.proof.note import NoteKey, NoteSigningKey, add_signatures, parse_signatures, sign_note
from vaultstream.proof.tlog_proof import TlogProof

pytestmark = pytest.mark.unit

ORIGIN = "example.com/behind-the-sofa"
TEXT = f"{ORIGIN}\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
"""The example of tlog-checkpoint and tlog-cosignature."""
WITNESSED = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
SECONDS = 1679315147
"""When it was cosigned."""
LOG = NoteSigningKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
WITNESS = Cosigner("witness.example.com/w1", Ed25519PrivateKey.from_private_bytes(b"\1" * 32), SECONDS)
LEAVES = [leaf_hash(bytes([number])) for number in range(13)]


def signed(leaves: list[bytes] = LEAVES, *signers: NoteSigningKey | Cosigner) -> bytes:
    head = Checkpoint(ORIGIN, len(leaves), tree_root(leaves))
    return sign_checkpoint(head, *(signers or [LOG]))


def test_the_checkpoint_of_the_specification_is_read_and_written() -> None:
    head = Checkpoint.parse(TEXT)
    assert (head.origin, head.size, head.root.hex()[:8]) == (ORIGIN, 20852163, "0ac5186a")
    assert head.text == TEXT


def test_extension_lines_and_any_origin_are_kept() -> None:
    text = f"an origin with spaces + a plus\n0\n{TEXT.splitlines()[2]}\nfirst\n — second — \n"
    head = Checkpoint.parse(text)
    assert head.extensions == ("first", " — second — ")
    assert head.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "\n",
        f"\n{TEXT}",
        TEXT.replace(ORIGIN, ""),
        TEXT.replace("20852163", ""),
        TEXT.replace("20852163", "020852163"),
        TEXT.replace("20852163", "00"),
        TEXT.replace("20852163", "+1"),
        TEXT.replace("20852163", "-1"),
        TEXT.replace("20852163", "1_0"),
        TEXT.replace("20852163", " 1"),
        TEXT.replace("20852163", "1 "),
        TEXT.replace("20852163", "٣"),
        TEXT.replace("20852163", "9223372036854775808"),
        TEXT.replace("20852163", "0x10"),
        TEXT.replace("CsUY", "*sUY"),
        TEXT.replace("CsUY", ""),
        TEXT.replace("q2I=", "q2J="),
        "\n".join(TEXT.splitlines()[:2]) + "\n",
        TEXT + "\nextension\n",
        TEXT + "extension",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ProofError, match=r"(C|c)heckpoint"):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": ""},
        {"origin": "a\nb"},
        {"size": -1},
        {"size": 2**63},
        {"root": b""},
        {"root": b"\0" * 33},
        {"extensions": ("",)},
        {"extensions": ("a\n",)},
    ],
)
def test_a_value_that_no_checkpoint_has_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ProofError):
        replace(Checkpoint.parse(TEXT), **changed)  # type: ignore[arg-type]


def test_a_checkpoint_is_opened_by_a_key_of_its_log() -> None:
    former = NoteSigningKey(ORIGIN, Ed25519PrivateKey.generate())
    opened = open_checkpoint(signed(), [former.public_key, LOG.public_key], origin=ORIGIN)
    assert opened.checkpoint == Checkpoint(ORIGIN, 13, tree_root(LEAVES))
    assert opened.witnesses([WITNESS.public_key]) == frozenset()


def test_a_checkpoint_of_another_log_is_refused() -> None:
    with pytest.raises(ProofError, match="is of the log"):
        open_checkpoint(signed(), [LOG.public_key], origin="example.com/other")


def test_a_checkpoint_that_only_a_witness_signed_is_refused() -> None:
    with pytest.raises(ProofError, match="witnesses alone"):
        open_checkpoint(
            signed(LEAVES, WITNESS), [LOG.public_key], origin=ORIGIN, witnesses=[WITNESS.public_key]
        )


def test_a_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(ProofError, match="three lines"):
        open_checkpoint(sign_note(f"{ORIGIN}\n1\n", LOG), [LOG.public_key], origin=ORIGIN)


def test_a_cosignature_is_over_the_header_the_time_and_the_whole_text() -> None:
    """Composed by hand from the specification."""
    text = TEXT + "an extension\n"
    value = WITNESS.sign(text)
    assert value[:8] == SECONDS.to_bytes(8, "big")
    WITNESS.private.public_key().verify(value[8:], f"cosignature/v1\ntime 1679315147\n{text}".encode())
    assert WITNESS.public_key.verifies(text, value)


def test_the_time_of_the_specifications_cosignature_is_read() -> None:
    [cosignature] = parse_signatures(WITNESSED)
    assert cosignature_time(cosignature.value) == SECONDS


def test_a_checkpoint_names_the_witnesses_that_signed_and_their_times() -> None:
    other = Cosigner("witness.example.com/w2", Ed25519PrivateKey.generate(), 1)
    known = [WITNESS.public_key, other.public_key]
    note = add_signatures(signed(), WITNESS.line(Checkpoint(ORIGIN, 13, tree_root(LEAVES)).text))
    opened = open_checkpoint(note, [LOG.public_key], origin=ORIGIN, witnesses=known)
    assert opened.witnesses(known) == {"witness.example.com/w1"}
    assert WITNESS.public_key.time_of(opened.note) == SECONDS
    assert other.public_key.time_of(opened.note) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: (SECONDS + 1).to_bytes(8) + value[8:],
        lambda value: value[:8] + bytes([value[8] ^ 1]) + value[9:],
        lambda value: value[8:],
        lambda value: value[:-1],
        lambda value: value + b"\0",
        lambda value: b"",
    ],
)
def test_an_altered_cosignature_is_not_valid(spoil: object) -> None:
    assert callable(spoil)
    assert not WITNESS.public_key.verifies(TEXT, spoil(WITNESS.sign(TEXT)))
    assert not WITNESS.public_key.verifies(TEXT + "more\n", WITNESS.sign(TEXT))


def test_a_time_beyond_the_limit_is_neither_signed_nor_accepted() -> None:
    last, beyond = replace(WITNESS, seconds=2**63 - 1), replace(WITNESS, seconds=2**63)
    assert WITNESS.public_key.verifies(TEXT, last.sign(TEXT))
    with pytest.raises(ProofError, match="2\\^63"):
        beyond.sign(TEXT)
    message = f"cosignature/v1\ntime {2**63}\n{TEXT}".encode()
    assert not WITNESS.public_key.verifies(TEXT, (2**63).to_bytes(8) + WITNESS.private.sign(message))


def test_a_key_of_a_log_and_the_same_key_of_a_witness_differ() -> None:
    public = WITNESS.public_key.public
    key = CosignerKey.parse(WITNESS.public_key.vkey)
    assert key == WITNESS.public_key
    assert key.key_id != NoteKey(WITNESS.name, public).key_id
    with pytest.raises(ProofError, match="type 0x04"):
        CosignerKey.parse(NoteKey(WITNESS.name, public).vkey)
    with pytest.raises(ProofError, match="type 0x01"):
        NoteKey.parse(WITNESS.public_key.vkey)
    with pytest.raises(ProofError, match="32"):
        CosignerKey(WITNESS.name, public[1:])


def proof(index: int = 5, extra: bytes = b"") -> TlogProof:
    return TlogProof(index, tuple(inclusion_path(LEAVES, index)), signed(), extra)


@pytest.mark.parametrize("extra", [b"", b"a record"])
@pytest.mark.parametrize("index", range(13))
def test_a_proof_is_read_as_it_was_written_and_verified(index: int, extra: bytes) -> None:
    read = TlogProof.parse(proof(index, extra).data)
    assert read == proof(index, extra)
    assert read.verify(LEAVES[index], [LOG.public_key], origin=ORIGIN).checkpoint.size == 13
    with pytest.raises(ProofError, match="does not lead"):
        read.verify(LEAVES[(index + 1) % 13], [LOG.public_key], origin=ORIGIN)


def test_a_proof_has_the_lines_of_the_specification() -> None:
    head, _, checkpoint = proof(5, b"extra data").data.decode().partition("\n\n")
    lines = head.split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra ZXh0cmEgZGF0YQ==", "index 5"]
    assert len(lines) == 3 + 4
    assert checkpoint == signed().decode()
    one = TlogProof(0, (), signed(LEAVES[:1])).data.decode()
    assert one.startswith(f"c2sp.org/tlog-proof@v1\nindex 0\n\n{ORIGIN}\n1\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("c2sp.org/tlog-proof@v1\n", ""),
        ("extra ", "extra"),
        ("extra ", "extra  "),
        ("extra ZXh0cmE=", "extra "),
        ("extra ZXh0cmE=", "extra ZXh0cmF="),
        ("extra ZXh0cmE=\n", "extra ZXh0cmE=\nextra ZXh0cmE=\n"),
        ("index 5", "index 05"),
        ("index 5", "index -1"),
        ("index 5", "index"),
        ("index 5", "index 5 "),
        ("index 5", "index 9223372036854775807"),
        ("index 5\n", ""),
        ("index 5\n", "index 5\n\n"),
        ("index 5\n", "index 5\nAAAA\n"),
        ("index 5\n", "index 5\n*\n"),
        ("index 5\n", "index 5\r\n"),
        ("index 5\n", "index 5\n" + ("A" * 43 + "=\n") * 60),
        ("extra ZXh0cmE=", "\udcff"),
    ],
)
def test_a_malformed_proof_is_refused(old: str, new: str) -> None:
    data = proof(5, b"extra").data.decode()
    assert old in data
    with pytest.raises(ProofError):
        TlogProof.parse(data.replace(old, new).encode(errors="surrogateescape")).verify(
            LEAVES[5], [LOG.public_key], origin=ORIGIN
        )


def test_a_proof_without_a_checkpoint_or_too_large_is_refused() -> None:
    data = proof().data
    for wrong in (b"", data.partition(b"\n\n")[0], data.partition(b"\n\n")[0] + b"\n"):
        with pytest.raises(ProofError):
            TlogProof.parse(wrong)
    with pytest.raises(ProofError, match="no empty line"):
        TlogProof.parse(data.partition(b"\n\n")[0] + b"\n\n").verify(
            LEAVES[5], [LOG.public_key], origin=ORIGIN
        )
    with pytest.raises(ProofError, match="bytes"):
        TlogProof.parse(data + b" " * 2_000_000)


@pytest.mark.parametrize("index", [0, 4, 6, 12, 13, 14])
def test_a_proof_for_another_index_is_refused(index: int) -> None:
    with pytest.raises(ProofError, match="does not lead"):
        replace(proof(), index=index).verify(LEAVES[5], [LOG.public_key], origin=ORIGIN)


def test_a_proof_counts_the_witnesses_of_its_checkpoint() -> None:
    witnessed = add_signatures(signed(), WITNESS.line(Checkpoint(ORIGIN, 13, tree_root(LEAVES)).text))
    known = [WITNESS.public_key]
    read = TlogProof.parse(replace(proof(), checkpoint=witnessed).data)
    opened = read.verify(LEAVES[5], [LOG.public_key], origin=ORIGIN, witnesses=known)
    assert opened.witnesses(known) == {WITNESS.name}
