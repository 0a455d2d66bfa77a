"""`import vaultstream`: what it offers, what it costs, and what type checkers know of it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import vaultstream

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]

CONSUMER = """
import asyncio
from pathlib import Path

import vaultstream
from vaultstream import AuditReport, ExportedSignature, JobResult, JobState, load_signing_job, open_engine


async def main() -> None:
    async with open_engine(data_dir=Path("data")) as engine:
        result: JobResult = await engine.run(load_signing_job(Path("job.yaml")), max_signers=2)
        finished: bool = result.ok and result.state is JobState.COMPLETE
        report: AuditReport = await engine.verify(result.name)
        signatures: list[ExportedSignature] = [each async for each in engine.signatures(result.token)]
        reasons: list[str] = [letter.reason for letter in await engine.dead_letters(result.name)]
        print(finished, report.valid, signatures, reasons)
        misread: str = result.signed  # type: ignore[assignment]
        print(misread, result.no_such)  # type: ignore[attr-defined]
        vaultstream.no_such()  # type: ignore[attr-defined]


asyncio.run(main())
"""


def test_every_public_name_exists_has_a_docstring_and_is_listed() -> None:
    for name in set(vaultstream.__all__) - {"__version__"}:
        assert getattr(vaultstream, name).__doc__, name
    assert set(vaultstream.__all__) == {*vaultstream._MODULES, "__version__"}
    assert set(vaultstream.__all__) <= set(dir(vaultstream))
    with pytest.raises(AttributeError, match="no_such_name"):
        vaultstream.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_a_name_of_each_module_can_be_imported_first() -> None:
    for name in {module: name for name, module in vaultstream._MODULES.items()}.values():
        subprocess.run([sys.executable, "-c", f"from vaultstream import {name}"], check=True, timeout=60)


def test_the_import_alone_loads_no_dependency() -> None:
    heavy = "asyncpg", "cryptography", "nats", "pydantic", "pyarrow", "vaultstream.errors"
    code = f"import sys, vaultstream; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"


def test_the_wheel_holds_the_mark_of_a_typed_package(tmp_path: Path) -> None:
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert "vaultstream/py.typed" in zipfile.ZipFile(wheel).namelist()
    assert vaultstream.__version__ in Path(wheel).name


def test_a_program_that_uses_it_is_type_checked(tmp_path: Path) -> None:
    """Its `type: ignore` comments mark the faults that mypy must find: --strict reports one that is not needed."""
    (tmp_path / "consumer.py").write_text(CONSUMER)
    cache = str(ROOT / ".mypy_cache/consumer")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, "consumer.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stdout
