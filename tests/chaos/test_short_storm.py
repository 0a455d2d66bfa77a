"""Faults of all kinds at once for some seconds, in every run of the tests; `make chaos` runs longer storms."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from support.chaos.storm import Storm

if TYPE_CHECKING:
    from pathlib import Path

    from support.chaos.arena import Arena

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300), pytest.mark.long]


async def test_a_short_storm_breaks_no_promise(arena: Arena, storm_disk: Path | None) -> None:
    tell = logging.getLogger(__name__).warning
    storm = Storm(arena, seed=6, faults=15, seconds=60, tell=tell, sources=["records"], disk=storm_disk)
    outcome = await storm.rage()
    assert outcome.rounds >= 1
    assert len(outcome.kinds) >= 5
