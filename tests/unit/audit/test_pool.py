"""The processes that verify, when one dies before it is asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from vaultstream.audit.pool import _ask, _verifier
from vaultstream.errors import VaultStreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

pytestmark = pytest.mark.unit


async def ask_a_dead_process() -> None:
    async with _verifier("vaultstream.audit.process", {}) as process:
        process.kill()
        await process.wait()
        await _ask(process, {"first": 1, "last": 2})


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_process_that_died_before_it_was_asked_is_an_error_with_its_exit_status(
    run: Callable[[Coroutine[object, object, None]], None],
) -> None:
    with pytest.raises(VaultStreamError, match="ended unexpectedly with exit status -9"):
        run(ask_a_dead_process())
