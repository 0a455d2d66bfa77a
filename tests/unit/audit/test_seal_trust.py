"""Which of this machine's checkpoints are used, with its own seal key or with one that was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.note import NoteSigningKey

if TYPE_CHECKING:
    from pathlib import Path


def test_checkpoints_of_this_machine_are_used_if_they_are_of_the_key(tmp_path: Path) -> None:
    key_file, folder = tmp_path / "seal-key", tmp_path / "seals"
    keys = create_seal_keys(key_file, "example.com/ours")
    notes = []
    for path, origin in ((folder, keys.origin), (folder / "tenants" / "shop", f"{keys.origin}/tenants/shop")):
        path.mkdir(parents=True)
        notes.append(sign_checkpoint(Checkpoint(origin, 1, bytes(32)), keys.signing))
        (path / "checkpoint").write_bytes(notes[-1])
    by_itself = SealTrust.read([], [], key_file=key_file, seals_dir=folder)
    given = SealTrust.read([keys.signing.public_key.vkey], [], key_file=tmp_path / "none", seals_dir=folder)
    assert by_itself.local == given.local == tuple(notes)
    assert (by_itself.asked, given.asked) == (False, True)
    other = NoteSigningKey("example.com/others", Ed25519PrivateKey.generate()).public_key
    assert SealTrust.read([other.vkey], [], key_file=key_file, seals_dir=folder).local == ()
    assert SealTrust.read([], [], key_file=tmp_path / "none", seals_dir=folder).local == ()
