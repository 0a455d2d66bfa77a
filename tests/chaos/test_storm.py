"""A storm of some hundred faults, of most kinds; `make chaos` is for longer ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from support.chaos.storm import Storm

if TYPE_CHECKING:
    from support.chaos.arena import Arena

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


async def test_a_storm_breaks_no_promise(arena: Arena) -> None:
    storm = Storm(arena, seed=20_000, faults=500, seconds=100, tell=logging.getLogger(__name__).warning)
    outcome = await storm.rage()
    assert outcome.rounds >= 1
    assert outcome.faults >= 50
