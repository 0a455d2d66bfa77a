"""Helm and an API server for the tests of the chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kube.apiserver import NEEDED, ApiServer
from support.apiserver import build, running_api_server

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds missing binaries before the first test starts, because a build takes longer than a test may."""
    if session.config.option.collectonly:
        return
    wanted = {"helm", "kind", "kubectl", "promtool"}
    if any(item.path.name == "test_connections.py" for item in session.items):
        wanted |= {"cyclonus"}
    if any(item.get_closest_marker("cluster") for item in session.items):
        wanted |= set(NEEDED)
    build(session, wanted)


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running_api_server(tmp_path_factory.mktemp("apiserver")) as server:
        yield server
