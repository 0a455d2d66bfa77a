"""The SigningJobs that a user gives in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP = "YAML of SigningJobs, the same as for Kubernetes, one or several documents; - reads standard input."
ManifestFile = Annotated[Path, typer.Option("--file", "-f", help=_HELP)]
OptionalManifestFile = Annotated[Path | None, typer.Option("--file", "-f", help=_HELP)]


def one_or_all(objects: Sequence[dict[str, Any]]) -> Any:
    """Returns what is printed about the jobs of a file: an object, or of several jobs a list."""
    return objects[0] if len(objects) == 1 else list(objects)
