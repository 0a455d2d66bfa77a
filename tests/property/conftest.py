"""Examples run without coverage, which doubles their time. The floor is reached without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.native import the_extension

__all__ = ["the_extension"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("no_cover")
