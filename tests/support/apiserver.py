"""A real API server for tests, and its binaries, built before the first of them starts."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kube import binaries
from kube.apiserver import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pytest


def build(session: pytest.Session, programs: Iterable[str], *, pinned: bool = False) -> None:
    """Builds missing binaries, which takes longer than a test may, and shows the progress.

    Raises:
        MissingBinaryError: a binary is missing, and there is no Go to build it.
    """
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        asyncio.run(binaries.ensure(sorted(programs), pinned=pinned))


@contextmanager
def running_api_server(folder: Path) -> Iterator[ApiServer]:
    """Starts an API server in its own folder, and removes it."""
    server = ApiServer(folder)
    try:
        asyncio.run(server.start())
        yield server
    finally:
        asyncio.run(server.down())
