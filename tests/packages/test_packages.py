"""The packages that are published: the source is small, a wheel built from it alone runs a job, and what is optional can be left out."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from email.message import Message

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
MAX_SOURCE_BYTES = 1_000_000
MAX_PLAIN_MIB = 100
"""Of all that a plain installation has, without its bytecode."""
PIN = re.compile(r"^[a-z0-9-]+==\S+(?: ; [^\\]*)?", re.MULTILINE)
JOB = """
apiVersion: vaultstream.dev/v1alpha1
kind: SigningJob
metadata: {name: receipts}
spec: {records: {table: receipts}, keys: {count: 2}}
"""


@dataclass(frozen=True)
class Packages:
    source: Path
    wheel: Path

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return HeaderParser().parsestr(archive.read(name).decode())


def build(source: Path, target: str, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)], cwd=source, check=True
    )
    return next(folder.glob("vaultstream-*.whl" if target == "wheel" else "vaultstream-*.tar.gz"))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The source package, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("packages")
    source = build(ROOT, "sdist", folder)
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    return Packages(source, build(folder / source.name.removesuffix(".tar.gz"), "wheel", folder))


class Environment:
    """A clean environment with the wheel, and a directory to run it in."""

    def __init__(self, folder: Path, packages: Packages) -> None:
        self.folder, self.wheel = folder, packages.wheel
        self.work = folder / "work"
        self.work.mkdir()
        venv.create(folder / "venv", with_pip=False)
        self.bin = folder / "venv/bin"
        pins = PIN.findall((ROOT / "constraints/dev.txt").read_text())
        (folder / "pins.txt").write_text("\n".join(pins))

    def install(self, extra: str = "") -> None:
        """Installs the wheel as people do, in the versions that the tests run with."""
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", "--quiet"),
                *("--disable-pip-version-check", "--no-input", "--no-compile", "--only-binary", ":all:"),
                *("--constraint", str(self.folder / "pins.txt"), f"{self.wheel}{extra}"),
            ],
            check=True,
        )

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / "vaultstream", *words],
            cwd=self.work,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.work), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def mebibytes(self) -> float:
        files = (path for path in self.bin.parent.rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in files if path.suffix != ".pyc") / 2**20


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, packages: Packages) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment"), packages)
    made.install()
    return made


def test_the_source_package_is_small_and_has_what_a_wheel_is_built_from(packages: Packages) -> None:
    assert packages.source.stat().st_size < MAX_SOURCE_BYTES
    with tarfile.open(packages.source) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert not tops & {"tests", "docs", "charts", ".github", ".ci", "examples"}
    with zipfile.ZipFile(packages.wheel) as archive:
        built = {name for name in archive.namelist() if not name.endswith("/")}
    folders = {
        "workers/vaultstream": "vaultstream",
        "cli/vaultstream_cli": "vaultstream_cli",
        "operator/vaultstream_operator": "vaultstream_operator",
    }
    for folder, package in folders.items():
        sources = {p for p in (ROOT / folder).rglob("*") if p.suffix in {".py", ".sql"}}
        assert {f"{package}/{path.relative_to(ROOT / folder)}" for path in sources} <= built


def test_the_package_says_what_it_is_and_what_is_optional(packages: Packages) -> None:
    metadata = packages.metadata()
    assert set(metadata.get_all("Provides-Extra", [])) >= {"local", "parquet", "operator"}
    assert metadata.get_all("Project-URL")
    classifiers = metadata.get_all("Classifier", [])
    assert {"Programming Language :: Python :: 3.11", "Topic :: Security :: Cryptography"} <= set(classifiers)
    plain = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert not [each for each in plain if re.match("pyarrow|kopf|kubernetes|nats-server|pixeltable", each)]


# One test, because it goes on from one state of the environment to the next.
def test_a_clean_installation_names_the_extra_that_it_lacks_and_runs_a_job_with_it(
    environment: Environment,
) -> None:
    assert environment.run("--help").returncode == 0
    assert environment.mebibytes() < MAX_PLAIN_MIB
    (environment.work / "job.yaml").write_text(JOB)
    (environment.work / "rows.parquet").write_bytes(b"PAR1")
    there = {path.name for path in environment.work.iterdir()}
    elsewhere = {
        "DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "VAULTSTREAM_NATS_URL": "nats://127.0.0.1:1",
    }
    for words, variables, extra in [
        (["quick-start"], {}, "local"),
        (["run", "-f", "job.yaml"], {}, "local"),
        (["import", "rows.parquet", "--table", "receipts", "--id-column", "id"], {}, "local"),
        (["operator"], elsewhere, "operator"),
    ]:
        ended = environment.run(*words, **variables)
        assert ended.returncode == 2, (words, ended)
        assert f"pip install 'vaultstream[{extra}]'" in " ".join((ended.stdout + ended.stderr).split()), words
    assert {path.name for path in environment.work.iterdir()} == there, "a refused command left something"

    environment.install("[local]")
    ran = environment.run("quick-start", TOTAL_RECORDS="50", TOTAL_KEYS="2", MAX_SIGNERS="1")
    assert ran.returncode == 0, ran.stderr
    assert "Complete" in ran.stdout
    ended = environment.run("import", "rows.parquet", "--table", "receipts", "--id-column", "id")
    assert ended.returncode == 2
    assert "pip install 'vaultstream[parquet]'" in " ".join((ended.stdout + ended.stderr).split())
