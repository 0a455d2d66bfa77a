"""Loads the SQL that lies beside this file."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def query(name: str) -> str:
    """Returns the text of `queries/<name>.sql`."""
    return resources.files(__package__).joinpath("queries", f"{name}.sql").read_text("utf-8")


def role(name: str) -> str:
    """Returns the text of `roles/<name>.sql`: what the role of that part is granted."""
    return resources.files(__package__).joinpath("roles", f"{name}.sql").read_text("utf-8")


def functions() -> list[str]:
    """Returns the definitions of all functions, which may be replaced at any time."""
    return _texts("functions")


def migrations() -> list[str]:
    """Returns the migrations in order; the first brings an empty database to version 1."""
    return _texts("migrations")


def _texts(folder: str) -> list[str]:
    files = resources.files(__package__).joinpath(folder).iterdir()
    return [
        file.read_text("utf-8") for file in sorted(files, key=lambda f: f.name) if file.name.endswith(".sql")
    ]
