"""The prose check finds a phrase where people read it, with its line, and leaves code alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePath

import pytest

import passages
import prose

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def found(name: str, *lines: str) -> list[tuple[int, str]]:
    """Returns the line and the phrase of each finding in a file of these lines."""
    return [(finding.line, finding.phrase) for finding in prose.findings(Path(name), "\n".join([*lines, ""]))]


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("a.py", ['"""A module.', "", "It begins anew.", '"""'], (3, "anew")),
        ("a.py", ["x = 1  # begins anew"], (1, "anew")),
        ("a.py", ["x = 1", 'raise ValueError("It begins anew.")'], (2, "anew")),
        ("a.py", ["x = 1", "", 'raise ValueError(f"{x} begins anew: {x}.")'], (3, "anew")),
        ("a.yaml", ["a: 1", "b: 2  # begins anew"], (2, "anew")),
        ("a.yaml", ["a: 1", "description: >", "  It begins anew."], (3, "anew")),
        ("a.md", ["# Title", "", "It begins anew."], (3, "anew")),
        ("a.md", ["- an item", "", "    of the list begins anew"], (3, "anew")),
        ("a.sql", ["SELECT 1; -- begins anew"], (1, "anew")),
        ("a.sql", ["SELECT 1;", "RAISE 'It begins anew';"], (2, "anew")),
        ("a.json", ["{", '  "description": "It begins anew."', "}"], (2, "anew")),
        ("a.tpl", ["{{- /* It begins", "anew. */}}"], (2, "anew")),
        ("a.tpl", ["{{- if .Values.a }}", '{{- fail "It begins anew." }}'], (2, "anew")),
        ("Makefile", ["all: ## Begin anew.", "\t@true"], (1, "anew")),
        ("a.sh", ["#!/bin/sh", "x=1", 'echo "begins anew"'], (3, "anew")),
        ("script", ["#!/bin/sh", "# begins anew"], (2, "anew")),
    ],
)
def test_a_phrase_is_found_with_its_line(name: str, lines: list[str], expected: tuple[int, str]) -> None:
    assert found(name, *lines) == [expected]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.py", ["# The queue is", "# away."]),
        ("a.py", ['x = ("The queue is "', '     "away today.")']),
        ("a.py", ['"""The queue is', 'away."""']),
        ("a.yaml", ["# The queue is", "# away."]),
        ("a.sql", ["-- The queue is", "-- away."]),
        ("a.md", ["The queue is", "away."]),
    ],
)
def test_a_phrase_may_go_over_two_lines(name: str, lines: list[str]) -> None:
    assert found(name, *lines) == [(1, "is away")]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.py", ["def mend(anew): return anew"]),
        ("a.py", ['x = {"anew": mend["mended"]}']),
        ("a.py", ['x = f"so many: {anew} of {mend}"']),
        ("a.py", ["# calls `mend`"]),
        ("a.py", ['x = "The queue is"', 'y = "away, they say"']),
        ("a.md", ["```python", "# begins anew", "```"]),
        ("a.md", ["Text:", "", "    begins anew"]),
        ("a.md", ["Write `again`, not `anew`."]),
        ("a.md", ["See [there](mend/anew.md)."]),
        ("a.yaml", ["anew: 1", "- mend: 2"]),
        ("a.tpl", ["{{ include .anew | mend }}"]),
        ("a.sql", ["SELECT anew FROM mend WHERE x = 'anew';"]),
        ("a.json", ['{"anew": "mend"}']),
        ("a.go", ["// begins anew"]),
        ("binary", ["begins anew"]),
    ],
)
def test_code_is_left_alone(name: str, lines: list[str]) -> None:
    assert found(name, *lines) == []


def test_the_finding_names_the_form_to_prefer() -> None:
    [finding] = prose.findings(Path("docs/a.md"), "It signs 4,000 records a second.\n")
    assert str(finding) == "docs/a.md:1: “records a second”: write per second"


def test_checks_of_proselint_are_used_besides_the_word_list() -> None:
    assert found("a.md", "It is free gift, irregardless.") != []
    known = {check.path for check in prose.enabled()}
    for name in prose.words().checks:
        assert any(path == name or path.startswith(f"{name}.") for path in known), name


def test_plain_english_passes() -> None:
    assert (
        found("a.md", "Each signer leases a key, signs a batch and releases the key: 400 records per second.")
        == []
    )


def test_lines_and_columns_stay() -> None:
    text = 'x = 1\n\n# a comment\ny = f"{x} is more" + z\n'
    kept = passages.prose(PurePath("a.py"), text)
    assert kept is not None
    assert [len(line) for line in kept.split("\n")] == [len(line) for line in text.split("\n")]
    assert {
        (old, new) for old, new in zip(text, kept, strict=True) if new not in {old, passages.BLANK, " "}
    } == set()


def test_what_is_skipped_is_there() -> None:
    assert [path for path in prose.words().skip if not (ROOT / path).exists()] == []


def test_files_that_are_generated_or_hidden_are_left_out() -> None:
    listed = {path.relative_to(ROOT).as_posix() for path in prose.files(ROOT, prose.words().skip)}
    assert {"README.md", "Makefile", "charts/vaultstream/values.yaml", "hack/prose.py", ".ci/run"} <= listed
    assert not [path for path in listed if path.startswith((".venv/", ".git/", "crds/", "docs/storms/"))]
    assert not listed & {"docs/commands.md", "docs/api-reference.md", "hack/words.toml"}


def test_a_file_or_a_folder_may_be_given() -> None:
    folder = ROOT / "charts/vaultstream/files"
    listed = {path.relative_to(folder).as_posix() for path in prose.files(folder, prose.words().skip)}
    assert {"dashboards/vaultstream.json", "postgres/postgres.sh"} <= listed
    assert not [path for path in listed if path.startswith("crds/")]
    assert [*prose.files(ROOT / "README.md", prose.words().skip)] == [ROOT / "README.md"]


@pytest.mark.parametrize(("text", "status"), [("All is well.", 0), ("It begins anew.", 1)])
def test_the_exit_status_tells_whether_there_is_a_finding(tmp_path: Path, text: str, status: int) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    ran = subprocess.run(
        [sys.executable, str(ROOT / "hack/prose.py"), str(page)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == status, ran.stderr
    assert ("page.md:1: " in ran.stdout) == (status == 1)
