"""Loads the SQL that lies beside this file."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def query(name: str) -> str:
    """Returns the text of `<name>.sql`."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text("utf-8")
