"""Three checkers of a record's proof: two that have no code of VaultStream, and its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.checkers import Checker, Judge, go_checker, node_checker
from support.proving import refusal


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
