"""Three checkers of a record's proof: two that have no code of VaultStream, and its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from kube import binaries
from support.apiserver import build
from support.checkers import Checker, Judge, go_checker, node_checker
from support.litewitness import LiteWitness, running
from support.proving import refusal
from vaultstream.errors import LocalServiceError

PROGRAM = "litewitness"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds the witness before the first test starts, because a build takes longer than a test may."""
    asked = [item for item in session.items if "litewitness" in getattr(item, "fixturenames", ())]
    if session.config.option.collectonly or not asked:
        return
    try:
        build(session, [PROGRAM], pinned=True)
    except binaries.MissingBinaryError as error:
        for item in asked:
            item.add_marker(pytest.mark.skip(reason=f"{error.message} {error.hint}"))
    except LocalServiceError:
        return  # each of the tests fails with it


@pytest.fixture
async def litewitness(tmp_path: Path) -> AsyncIterator[LiteWitness]:
    """A witness that knows no log."""
    found = await binaries.ensure([PROGRAM], pinned=True)
    async with running(found[PROGRAM], tmp_path) as witness:
        yield witness


@pytest.fixture(scope="session")
def checkers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checker | None]:
    return {"Go": go_checker(tmp_path_factory.mktemp("checker")), "Node": node_checker()}


@pytest.fixture(params=["Go", "Node", "ours"])
def judge(request: pytest.FixtureRequest, checkers: dict[str, Checker | None], tmp_path: Path) -> Judge:
    if request.param == "ours":
        return refusal
    checker = checkers[request.param]
    if checker is None:
        pytest.skip(f"{request.param} is not installed")
    return lambda proven: checker.refusal(proven, tmp_path / "proof")


@pytest.fixture
def judges(checkers: dict[str, Checker | None], tmp_path: Path) -> list[Judge]:
    """All checkers that run here."""
    others = [each for each in checkers.values() if each is not None]
    return [refusal, *(partial(each.refusal, folder=tmp_path / "proof") for each in others)]
