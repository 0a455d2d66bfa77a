"""Plain scalars in YAML: what Kubernetes makes of them, and which texts need quotes."""

from __future__ import annotations

import pytest

from vaultstream.api.document import read_documents, yaml_text
from vaultstream.api.loader import parse_signing_job
from vaultstream.errors import InvalidJobError

pytestmark = pytest.mark.unit

JOB = """\
apiVersion: vaultstream.dev/v1alpha1
kind: SigningJob
metadata: {name: j}
spec:
  records: {table: t}
  batchSize: """


@pytest.mark.parametrize(
    "plain",
    [
        "1:30",
        "190:20:30.15",
        "-1:00",
        "2020-01-01",
        "1:30:00",
        "<<",
        "=",
        "y",
        "0o8",
        "0b2",
        ".5_0",
        "_1",
        "0x",
        "1e",
    ],
)
def test_a_plain_scalar_that_kubernetes_reads_as_a_string_is_one(plain: str) -> None:
    [document] = read_documents(f"a: {plain}")
    assert document.value == {"a": plain}
    with pytest.raises(InvalidJobError, match="batchSize"):
        parse_signing_job(f"{JOB}{plain}\n", source="job.yaml")


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("yes", True),
        ("off", False),
        ("010", 8),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1e3", 1000),
        ("-.5", -0.5),
        ("0o10", 8),
        ("-0O17", -15),
        ("0B11", 3),
        ("+0X1f", 31),
        ("08", 8),
        ("-0_8", -8),
        ("0o1_0", 8),
        ("1.", 1),
    ],
)
def test_a_plain_scalar_is_what_kubernetes_reads(plain: str, value: object) -> None:
    [document] = read_documents(f"a: {plain}")
    assert document.value == {"a": value}


@pytest.mark.parametrize(
    "text",
    [
        "1e3",
        "0e0",
        "1:30",
        "0x1f",
        "010",
        "0o10",
        "08",
        "0B1",
        "1_0.5",
        "yes",
        "~",
        "2026-01-01",
        "a: b",
        "\u2028",
        "ä",
    ],
)
def test_a_text_that_looks_like_something_else_is_written_so_that_it_is_read_as_a_text(text: str) -> None:
    written = yaml_text({"z": text, "a": [1, 0.5, True, None]})
    assert written.isascii()
    [document] = read_documents(written)
    assert (document.value, document.problems) == ({"z": text, "a": [1, 0.5, True, None]}, [])
