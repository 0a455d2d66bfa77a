"""One real API server for the whole run, and a namespace for each test."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from kube import binaries
from kube.apiserver import NEEDED, ApiServer
from kube.commands import until
from support.apiserver import build, running_api_server
from support.operating import Site, let_in, open_site
from support.policed import api, policies_in_effect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from vaultstream.local.services import Services

__all__ = ["api", "policies_in_effect"]

_CHECKERS = {"test_crd_kstatus.py": "kstatus", "test_gitops.py": "health"}
"""The programs of others that a file of tests runs on a SigningJob."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; left out with -m 'not slow'")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds missing binaries before the first test starts, because a build takes longer than a test may."""
    if session.config.option.collectonly or not any(
        item.get_closest_marker("cluster") for item in session.items
    ):
        return
    items = [item for item in session.items if item.get_closest_marker("cluster")]
    _build_or_skip(session, NEEDED, items)
    for file, program in _CHECKERS.items():
        if users := [item for item in items if item.path.name == file]:
            _build_or_skip(session, [program], users, pinned=True)


def _build_or_skip(
    session: pytest.Session, programs: Iterable[str], users: Iterable[pytest.Item], *, pinned: bool = False
) -> None:
    try:
        build(session, programs, pinned=pinned)
    except binaries.MissingBinaryError as error:
        for item in users:
            item.add_marker(pytest.mark.skip(reason=f"{error.message} {error.hint}"))


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The API server that all tests share: work in a `namespace`, and put its name into the names of cluster-wide objects."""
    with running_api_server(tmp_path_factory.mktemp("apiserver")) as server:
        yield server


@pytest.fixture
async def namespace(api_server: ApiServer) -> AsyncIterator[str]:
    """A new namespace with its default service account; its deletion starts after the test."""
    name = f"test-{uuid4().hex[:12]}"
    client = api_server.client
    path = f"/api/v1/namespaces/{name}"
    await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    await until(
        f"the default service account of {name}",
        lambda: client.exists(f"{path}/serviceaccounts/default"),
        seconds=30,
        hint="See the log of kube-controller-manager.",
    )
    yield name
    await client.call("DELETE", path)


@pytest.fixture
async def site(
    api_server: ApiServer, namespace: str, services: Services, migrated_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """A namespace where operators may work, with a migrated database and a table of 200 records."""
    async with open_site(api_server, namespace, services, migrated_url, tmp_path) as site:
        await site.table("records", 200)
        yield site


@pytest.fixture
async def tenant(site: Site) -> AsyncIterator[Site]:
    """Another namespace for the operator of `site`."""
    name = f"test-{uuid4().hex[:12]}"
    await site.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    await let_in(site.client, name, home=site.namespace)
    yield replace(site, namespace=name)
    await site.client.call("DELETE", f"/api/v1/namespaces/{name}")
