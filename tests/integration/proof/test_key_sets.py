"""A key set that the seal key vouches for is accepted by our code and by a Go program on sumdb/note, and by nobody for a log."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.checkers import build_go
from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, RevocationEntry
from vaultstream.proof.key_set import PROOF_SUFFIX, key_set_origin, sign_key_set, verify_key_set
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.note import NoteSigningKey
from vaultstream.proof.seal import job_origin
from vaultstream.proof.tlog_proof import TlogProof

pytestmark = pytest.mark.integration

NAME, TOKEN = "example.com/sign", "receipts-0f3c9a1e"
KEYS = json.dumps({"vaultstream.dev/job": TOKEN, "keys": [{"kty": "OKP", "kid": f"{TOKEN}-1"}]}).encode()
SEAL_KEY = NoteSigningKey(NAME, Ed25519PrivateKey.generate())

Judge = Callable[[bytes, bytes, str], bool]
"""Whether a key set with that proof is accepted for a job."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return build_go(tmp_path_factory.mktemp("keyset") / "keyset", "./keyset")


@pytest.fixture(params=["Go", "ours"])
def judge(request: pytest.FixtureRequest, program: Path | None, tmp_path: Path) -> Judge:
    def ours(data: bytes, proof: bytes, token: str) -> bool:
        try:
            verify_key_set(data, proof, token, [SEAL_KEY.public_key])
        except ProofError:
            return False
        return True

    def go(data: bytes, proof: bytes, token: str) -> bool:
        file = tmp_path / "keys.jwks"
        file.write_bytes(data)
        file.with_name(file.name + PROOF_SUFFIX).write_bytes(proof)
        assert program is not None
        ran = subprocess.run(
            [program, file, SEAL_KEY.public_key.vkey, token], capture_output=True, text=True, check=False
        )
        assert ran.returncode in {0, 1}, ran.stderr
        assert ran.stdout.startswith("yes\n" if ran.returncode == 0 else "no: ")
        return ran.returncode == 0

    if request.param == "ours":
        return ours
    if program is None:
        pytest.skip("Go is not installed")
    return go


def proof_with(data: bytes, origin: str, *, size: int = 1, extensions: tuple[str, ...] = ()) -> bytes:
    """A proof under the seal key for the data as the first entry of a log, as far as that is one."""
    return TlogProof(
        0, (), sign_checkpoint(Checkpoint(origin, size, leaf_hash(data), extensions), SEAL_KEY)
    ).data


def test_a_key_set_is_accepted_for_its_job_alone(judge: Judge) -> None:
    proof = sign_key_set(KEYS, TOKEN, SEAL_KEY)
    assert judge(KEYS, proof, TOKEN)
    assert not judge(KEYS, proof, "receipts-0f3c9a1f")
    assert not judge(KEYS + b"\n", proof, TOKEN)
    assert not judge(KEYS.replace(b"-1", b"-2"), proof, TOKEN)
    assert not judge(KEYS, sign_key_set(KEYS + b"\n", TOKEN, SEAL_KEY), TOKEN)


def test_a_key_set_is_not_accepted_under_another_key(judge: Judge) -> None:
    other = NoteSigningKey(NAME, Ed25519PrivateKey.generate())
    assert not judge(KEYS, sign_key_set(KEYS, TOKEN, other), TOKEN)
    note = sign_key_set(KEYS, TOKEN, SEAL_KEY)
    changed = note[:-4] + bytes([note[-4] ^ 1]) + note[-3:]
    assert not judge(KEYS, changed, TOKEN)


@pytest.mark.parametrize("origin", [NAME, job_origin(NAME, TOKEN), f"{NAME}/tenants/shop", f"{NAME}/jwks"])
def test_no_checkpoint_of_a_log_vouches_for_a_key_set(judge: Judge, origin: str) -> None:
    """Even if the key set was the first entry of such a log."""
    assert not judge(KEYS, proof_with(KEYS, origin), TOKEN)


def test_a_log_with_further_entries_or_lines_vouches_for_no_key_set(judge: Judge) -> None:
    origin = key_set_origin(NAME, TOKEN, KEYS)
    assert judge(KEYS, proof_with(KEYS, origin), TOKEN)
    assert not judge(KEYS, proof_with(KEYS, origin, size=2), TOKEN)
    assert not judge(KEYS, proof_with(KEYS, origin, extensions=("more",)), TOKEN)


@pytest.mark.parametrize("origin", [NAME, job_origin(NAME, TOKEN), f"{NAME}/tenants/shop"])
def test_the_proof_of_a_key_set_passes_for_no_checkpoint_of_a_log(origin: str) -> None:
    checkpoint = TlogProof.parse(sign_key_set(KEYS, TOKEN, SEAL_KEY)).checkpoint
    with pytest.raises(ProofError, match="is of the log"):
        open_checkpoint(checkpoint, [SEAL_KEY.public_key], origin=origin)


@pytest.mark.parametrize("token", ["", "a/jwks", f"a/jwks/{'0' * 64}", "a\n1", "A", "a" * 65, "../x"])
def test_what_is_no_token_of_a_job_can_not_choose_the_origin(token: str) -> None:
    """The owner of the database may have written it."""
    with pytest.raises(ProofError, match="not that of a job"):
        sign_key_set(KEYS, token, SEAL_KEY)


def test_a_key_set_is_no_entry_of_a_jobs_log() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    entry = AuditEntry(job_token=TOKEN, number=1, action="export", login="me", arguments={}, at=at)
    assert AuditEntry.parse(entry.data) == entry
    for kind in (AuditEntry, DeadLetterEntry, RevocationEntry):
        with pytest.raises(ProofError):
            kind.parse(KEYS)


def test_two_key_sets_of_a_job_are_in_two_logs() -> None:
    """One log with two roots of the same size would be a log that contradicts itself."""
    assert key_set_origin(NAME, TOKEN, KEYS) != key_set_origin(NAME, TOKEN, KEYS + b"\n")
    assert key_set_origin(NAME, TOKEN, KEYS).startswith(job_origin(NAME, TOKEN) + "/jwks/")
