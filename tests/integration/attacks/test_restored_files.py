"""Someone follows the steps of a restore on the machine where the jobs ran: its files of keys are newer than the backup."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vaultstream.crypto.keyring import create_keyring, load_keyring, prune_keyring, rotate_keyring
from vaultstream.crypto.seal_keys import create_seal_keys, load_seal_keys, rotate_seal_keys

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def run(commands: list[str], folder: Path) -> None:
    """Runs commands of the page in the folder of the backup; the files in use are beside it."""
    paths = {
        "VAULTSTREAM_KEK_FILE": str(folder.parent / "kek"),
        "VAULTSTREAM_SEAL_KEY_FILE": str(folder.parent / "seal-key"),
    }
    script = "\n".join(commands)
    subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **paths},
        check=True,
    )


def test_the_steps_of_a_restore_leave_newer_files_of_keys_as_they_are(tmp_path: Path) -> None:
    section = PAGE.read_text().split("## Backup and restore\n", 1)[1].split("\n## ", 1)[0]
    steps = re.findall(r"^.*install -m 600 vaultstream\..*$", section, flags=re.MULTILINE)
    [added] = re.findall(r"`(cat vaultstream\.kek >> .*?)`", section)
    assert len(steps) == 2
    kek, seal_key, backup = tmp_path / "kek", tmp_path / "seal-key", tmp_path / "backup"
    backup.mkdir()
    old = create_keyring(kek).primary
    former = create_seal_keys(seal_key).signing.public_key
    shutil.copy(kek, backup / "vaultstream.kek")
    shutil.copy(seal_key, backup / "vaultstream.seal-key")
    new = rotate_keyring(kek).primary
    prune_keyring(kek, ())
    rotated = rotate_seal_keys(seal_key)

    run(steps, backup)
    assert load_keyring(kek).ids == (new.kek_id,)
    assert load_seal_keys(seal_key).known == rotated.known
    assert former in rotated.known
    run([added], backup)
    assert load_keyring(kek).keks == (new, old), "the newer one wraps, and both unwrap"

    kek.unlink()
    seal_key.unlink()
    run(steps, backup)
    assert (load_keyring(kek).keks, load_seal_keys(seal_key).signing.public_key) == ((old,), former)
    assert [path.stat().st_mode & 0o777 for path in (kek, seal_key)] == [0o600, 0o600]
