"""The audit of pinned packages: what an advisory affects is found, by a list of versions or by a range."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import audit

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def affected(*events: dict[str, str], versions: list[str] | None = None, name: str = "Some.Thing") -> Any:
    return {
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [
            {"type": "ECOSYSTEM", "events": list(events)},
            {"type": "GIT", "events": [{"introduced": "0"}]},
        ],
        "versions": versions or [],
    }


def advisories(folder: Path, *entries: Any, **fields: Any) -> Path:
    path = folder / "vulns" / "some-thing" / "PYSEC-1.yaml"
    path.parent.mkdir(parents=True)
    aliases = ["CVE-2026-1", "GHSA-1"]
    path.write_text(yaml.safe_dump({"id": "PYSEC-1", "aliases": aliases, "affected": list(entries)} | fields))
    return folder


@pytest.mark.parametrize(
    ("version", "hit"),
    [
        ("1.9", False),
        ("2.0", True),
        ("2.9.1", True),
        ("3.0rc1", True),
        ("3.0", False),
        ("4.0", True),
        ("5.0", False),
    ],
)
def test_a_range_affects_versions_from_its_introduction_to_its_fix(version: str, hit: bool) -> None:
    entry = affected({"introduced": "2.0"}, {"fixed": "3.0"}, {"introduced": "4.0"}, {"fixed": "5.0"})
    assert audit.affects(entry, version) is hit


@pytest.mark.parametrize(("version", "hit"), [("1.0", True), ("2.0", True), ("2.0.1", False)])
def test_the_last_affected_version_is_affected(version: str, hit: bool) -> None:
    assert audit.affects(affected({"introduced": "0"}, {"last_affected": "2.0"}), version) is hit


def test_a_listed_version_is_affected_without_a_range() -> None:
    assert audit.affects(affected(versions=["1.0", "1.1"]), "1.1")
    assert not audit.affects(affected(versions=["1.0", "1.1"]), "1.2")


def test_a_pinned_package_is_found_whatever_its_name_is_spelled_like(tmp_path: Path) -> None:
    folder = advisories(tmp_path, affected({"introduced": "0"}, {"fixed": "2.0"}))
    [found] = audit.findings({("some-thing", "1.0"), ("other", "1.0")}, folder)
    assert str(found) == "some-thing 1.0: PYSEC-1 CVE-2026-1, fixed in 2.0"
    assert audit.findings({("some-thing", "2.0")}, folder) == []


def test_a_withdrawn_or_accepted_advisory_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, pinned = affected({"introduced": "0"}), {("some-thing", "1.0")}
    assert audit.findings(pinned, advisories(tmp_path / "withdrawn", entry, withdrawn="2026-01-01")) == []
    folder = advisories(tmp_path / "accepted", entry)
    assert audit.findings(pinned, folder)
    monkeypatch.setattr(audit, "ACCEPTED", {"CVE-2026-1": "The function is never called."})
    assert audit.findings(pinned, folder) == []


def test_every_pin_of_the_project_is_read() -> None:
    pinned = audit.pins(ROOT / "constraints")
    assert {"cryptography", "nats-py", "asyncpg", "cyclonedx-bom", "pip"} <= {name for name, _ in pinned}
    lines = {line for path in (ROOT / "constraints").glob("*.txt") for line in path.read_text().splitlines()}
    assert len(pinned) == len(
        {line.split()[0].rstrip(";") for line in lines if "==" in line and line[0] != " "}
    )


def test_the_audit_ends_with_an_error_if_something_is_affected_or_nothing_was_checked(tmp_path: Path) -> None:
    pinned = dict(audit.pins(ROOT / "constraints"))
    path = tmp_path / "vulns" / "cryptography" / "PYSEC-1.yaml"
    ran = run(tmp_path)
    assert ran.returncode == 1
    assert "has no advisories" in ran.stdout
    path.parent.mkdir(parents=True)
    for least, code in (("0", 1), ("99999", 0)):
        entry = affected({"introduced": least}, name="cryptography")
        path.write_text(yaml.safe_dump({"id": "PYSEC-1", "affected": [entry]}))
        ran = run(tmp_path)
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert (f"cryptography {pinned['cryptography']}" in ran.stdout) is bool(code)


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "hack/audit.py"), str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=False)
