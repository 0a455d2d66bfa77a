"""Loads the SQL of this folder: named queries beside this file, and functions, roles and migrations in folders of their own.

A file of queries holds one noun each (`jobs.sql`, `keys.sql`, …). Each query follows a header:

    -- name: find_job
    -- A comment for readers; it is not sent to Postgres.
    SELECT …

Names are unique over all files. A query with placeholders, such as `{relation}`, is a template: the caller fills in what can't
be a parameter, already quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources

_HEADER = re.compile(r"^-- name:(.*)$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PARAMETER = re.compile(r"\bp_(\w+) => \$(\d+)")
_COMMENT = re.compile(r"^[ \t]*--.*\n?", re.MULTILINE)


def query(name: str, /, **parts: str) -> str:
    """Returns the text of a named query.

    Args:
        name: as in its header.
        parts: what the placeholders of a template stand for, ready to stand in SQL. Without any, the text is returned as it is.

    Raises:
        LookupError: no query has that name, or a placeholder has no part.
    """
    try:
        text = _queries()[name]
    except KeyError:
        raise LookupError(f"No query is named {name!r} in {__package__}.") from None
    return text.format(**parts) if parts else text


def arguments(text: str, **values: object) -> list[object]:
    """Returns the values of a query's parameters in their order.

    Args:
        text: of a query that calls a function with named parameters, each as `p_name => $1`.
        values: each parameter by its name, without the `p_`.

    Raises:
        TypeError: a parameter has no value, or a value is for no parameter.
    """
    names = _parameters(text)
    if values.keys() != set(names):
        raise TypeError(f"The query has the parameters {', '.join(names)}; given: {', '.join(values)}.")
    return [values[name] for name in names]


@cache
def _parameters(text: str) -> tuple[str, ...]:
    numbered = {int(number): name for name, number in _PARAMETER.findall(text)}
    return tuple(numbered[number] for number in sorted(numbered))


def parse_queries(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns the queries of files by name, without their comment lines.

    Args:
        files: name and text of each file.

    Raises:
        ValueError: a name is malformed or used twice, a query is empty, or SQL stands before the first header.
    """
    queries: dict[str, str] = {}
    places: dict[str, str] = {}
    for file, text in files:
        before, *parts = _HEADER.split(text)
        if _COMMENT.sub("", before).strip():
            raise ValueError(f"{file}: SQL before the first `-- name:` header.")
        for name, body in zip((part.strip() for part in parts[::2]), parts[1::2], strict=True):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{file}: {name!r} is not a name for a query.")
            if name in queries:
                raise ValueError(f"{file}: {name!r} is already the name of a query in {places[name]}.")
            queries[name], places[name] = _COMMENT.sub("", body).strip(), file
            if not queries[name]:
                raise ValueError(f"{file}: the query {name!r} is empty.")
    return queries


@cache
def _queries() -> dict[str, str]:
    return parse_queries(_files())


def role(name: str) -> str:
    """Returns the text of `roles/<name>.sql`: what the role of that part is granted."""
    return resources.files(__package__).joinpath("roles", f"{name}.sql").read_text("utf-8")


def functions() -> list[str]:
    """Returns the definitions of all functions, which may be replaced at any time."""
    return [text for _, text in _files("functions")]


@cache
def migrations() -> tuple[str, ...]:
    """Returns the migrations in order; the first brings an empty database to version 1."""
    return tuple(text for _, text in _files("migrations"))


def _files(*folder: str) -> list[tuple[str, str]]:
    files = resources.files(__package__).joinpath(*folder).iterdir()
    return [
        (file.name, file.read_text("utf-8"))
        for file in sorted(files, key=lambda f: f.name)
        if file.name.endswith(".sql")
    ]
