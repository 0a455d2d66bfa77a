"""The packages that are published: the source is small, and a wheel built from it alone runs a job."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
MAX_SOURCE_BYTES = 1_000_000


def build(source: Path, target: str, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)], cwd=source, check=True
    )
    return next(folder.glob("vaultstream-*.whl" if target == "wheel" else "vaultstream-*.tar.gz"))


def test_a_wheel_that_is_built_from_the_source_package_runs_a_job(tmp_path: Path) -> None:
    packed = build(ROOT, "sdist", tmp_path)
    assert packed.stat().st_size < MAX_SOURCE_BYTES
    with tarfile.open(packed) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}
        archive.extractall(tmp_path, filter="data")
    assert not tops & {"tests", "docs", "charts", ".github", ".ci", "examples"}
    wheel = build(tmp_path / packed.name.removesuffix(".tar.gz"), "wheel", tmp_path)
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive_of_wheel:
        archive_of_wheel.extractall(installed)
    packages = {"workers/vaultstream": "vaultstream", "cli/vaultstream_cli": "vaultstream_cli"}
    for folder, package in packages.items():
        sources = {
            p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*") if p.suffix in {".py", ".sql"}
        }
        assert {path for path in sources if not (installed / package / path).is_file()} == set()

    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": str(installed),
        "TOTAL_RECORDS": "50",
        "TOTAL_KEYS": "2",
        "MAX_SIGNERS": "1",
    }
    program = (
        "import sys, vaultstream, vaultstream_cli.main as command; "
        f"assert vaultstream.__file__.startswith({str(installed)!r}); "
        "sys.argv = ['vaultstream', 'quick-start', '--data-dir', 'data']; command.main()"
    )
    work = tmp_path / "work"
    work.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Complete" in ran.stdout
