"""A run on one machine reports how many signers it chose, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.command import Command

pytestmark = pytest.mark.integration


def test_a_run_explains_its_number_of_signers(command: Command) -> None:
    done = command.run("quick-start", "--records", "2000", "--keys", "4", "--max-signers", "1", "--json")
    (first, *_) = json.loads(done.stdout)["decisions"]
    assert (first["before"], first["after"], first["reason"]) == (0, 1, "FirstStep")
    assert "scaled from 0 to 1 signer: no signer's rate is known yet" in done.stderr


def test_annotations_of_the_manifest_size_the_pool(command: Command) -> None:
    command.run("quick-start", "--records", "300", "--keys", "2", "--max-signers", "1")
    path = Path(
        command.manifest("pinned", records={"table": "quickstart_300"}, batchSize=5, keys={"count": 4})
    )
    document = json.loads(path.read_text())
    document["metadata"]["annotations"] = {"vaultstream.dev/paused-replicas": "2"}
    path.write_text(json.dumps(document))
    summary = command.json("run", "-f", str(path), "--max-signers", "3")
    assert summary["state"] == "Complete"
    first = summary["decisions"][0]
    assert (first["after"], first["reason"]) == (2, "PausedReplicas")
