"""One cluster and one release for the whole run, in namespaces that enforce the Pod Security level `restricted`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kube import cluster, images
from kube.cluster import Cluster
from kube.images import NATS, POSTGRES, PRODUCT, ROOT
from support.apiserver import build
from support.e2e.release import Release, values
from support.e2e.site import HOME, NAMESPACES, Site

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ARTIFACTS = Path(os.environ.get("E2E_ARTIFACTS") or ROOT / "build/e2e")
IMAGES = (PRODUCT, NATS, POSTGRES)
DURATIONS = ARTIFACTS / "durations.txt"
LEVEL = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds binaries and images before the first test starts, because that takes longer than a test may.

    Where a node can not run, the tests are skipped with the reason.
    """
    if session.config.option.collectonly or not session.items:
        return
    if reason := _obstacle():
        for item in session.items:
            item.add_marker(pytest.mark.skip(reason=reason))
    else:
        build(session, [*cluster.NEEDED, "helm"], pinned=True)
        if not os.environ.get("E2E_REUSE"):
            with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                asyncio.run(_build_images())


def _obstacle() -> str:
    if os.geteuid():
        return "The node requires root."
    missing = [
        name
        for name in ("runc", "ip", "iptables", "conntrack", "gcc", "buildah", "debootstrap")
        if not shutil.which(name)
    ]
    return f"Programs of the system are missing: {', '.join(missing)}." if missing else ""


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The product, installed and ready.

    `E2E_KEEP=1` leaves it running at the end, for inspection; `E2E_REUSE=1` uses what such a run left, including the images.
    """
    node = Cluster()
    kept = bool(os.environ.get("E2E_KEEP") or os.environ.get("E2E_REUSE"))
    started = time.monotonic()
    try:
        if not os.environ.get("E2E_REUSE"):
            DURATIONS.unlink(missing_ok=True)
            asyncio.run(_bring_up(node))
            _note(time.monotonic() - started, "the node and the installation")
        yield Site(node, Release(node.kubeconfig, HOME), PRODUCT.name)
    finally:
        if not kept:
            asyncio.run(node.down())
        _note(time.monotonic() - started, "the whole run")


async def _build_images() -> None:
    for image in IMAGES:
        await images.build_without_engine(image)


async def _bring_up(node: Cluster) -> None:
    await node.up()
    for image in IMAGES:
        await node.load(image.archive)
    for name in NAMESPACES:
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LEVEL}}
        await node.api.kubectl("apply", "-f", "-", stdin=json.dumps(document))
    await Release(node.kubeconfig, HOME).upgrade(values(PRODUCT.name, namespaces=NAMESPACES))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Saves the state of the cluster when a test fails, because the node is gone when somebody reads the report."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.when == "call" and report.failed and isinstance(site, Site):
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        (ARTIFACTS / f"{item.name}.txt").write_text(asyncio.run(site.picture()))
        report.sections.append(("pods that are not ready", asyncio.run(site.ailing())))
    return report


@pytest.fixture
def artifacts() -> Path:
    """The folder of the files that a run leaves for people."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS


@pytest.fixture(autouse=True)
def _timed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Records the duration of each test."""
    request.getfixturevalue("site")
    started = time.monotonic()
    yield
    _note(time.monotonic() - started, request.node.name)


def _note(seconds: float, what: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with DURATIONS.open("a") as file:
        file.write(f"{seconds:7.1f} s  {what}\n")
