"""`lint`, and manifests on standard input."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from vaultstream.api.loader import load_signing_job
from vaultstream.errors import InvalidJobError

pytestmark = pytest.mark.unit

JOB = """
apiVersion: vaultstream.dev/v1alpha1
kind: SigningJob
metadata: {name: piped}
spec: {records: {table: receipts}}
"""


@pytest.mark.parametrize("text", [JOB, "kind: Pod"])
def test_a_manifest_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    if text == JOB:
        assert load_signing_job("-").metadata.name == "piped"
        return
    with pytest.raises(InvalidJobError, match="standard input:1"):
        load_signing_job("-")
