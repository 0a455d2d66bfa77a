"""One sealed bundle for each module, and three verifiers that have nothing but the bundle: two that are a part of it, and our own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from support.bundles import TOKEN, MadeBundle, Verdict, batches_of, checkers, our_verdict, run_checker

Judge = Callable[..., Verdict]
"""Takes the folder of a bundle and the options; returns what the verifier says."""


@pytest.fixture(scope="session")
def made() -> MadeBundle:
    """A job with three batches, two dead letters, and a key that was revoked after it signed."""
    return MadeBundle(
        batches_of(5, 1, 3), dead=["10", "11"], revoked={f"{TOKEN}-key-2": timedelta(minutes=5)}
    )


@pytest.fixture(scope="session")
def genuine(made: MadeBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("genuine") / "bundle"
    made.write(folder)
    return folder


@pytest.fixture
def copied(genuine: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    return Path(shutil.copytree(genuine, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def programs(genuine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a bundle, elsewhere."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("verify.py", "formats.py", "verify.mjs", "formats.mjs"):
        shutil.copy(genuine / name, folder)
    return folder


@pytest.fixture(params=["verify.py", "verify.mjs", "ours"])
def judge(request: pytest.FixtureRequest, programs: Path) -> Judge:
    if request.param == "ours":
        return our_verdict
    command = checkers(programs).get(request.param)
    if command is None:
        pytest.skip("Node is not installed")
    return lambda folder, *options: run_checker(command, folder, *options)
