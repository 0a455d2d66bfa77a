"""A storm of about a hundred faults of most kinds; `make chaos` runs longer storms."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from support.chaos.catalogue import CATALOGUE
from support.chaos.storm import Storm

if TYPE_CHECKING:
    from pathlib import Path

    from support.chaos.arena import Arena

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


async def test_a_storm_breaks_no_promise(arena: Arena, storm_disk: Path | None) -> None:
    tell = logging.getLogger(__name__).warning
    storm = Storm(arena, seed=20_000, faults=500, seconds=100, tell=tell, disk=storm_disk)
    outcome = await storm.rage()
    assert outcome.rounds >= 1
    assert outcome.faults >= 50
    assert len(outcome.kinds) >= len(CATALOGUE) // 2
    assert storm_disk is None or "no room for signatures" in outcome.kinds
