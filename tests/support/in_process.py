"""Commands in the tests' own process, of an application that is put together once: as each process does, and most of what they take."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import typer
import typer.testing


class CliRunner(typer.testing.CliRunner):
    """Runs commands like its base, which puts together all commands again for each."""

    def invoke(self, app: typer.Typer, *arguments: Any, **options: Any) -> typer.testing.Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(typer.testing, "_get_command", _put_together_now)
            return super().invoke(app, *arguments, **options)


def _put_together_now(app: typer.Typer) -> Any:
    return _put_together(app, len(app.registered_commands), len(app.registered_groups))


@cache
def _put_together(app: typer.Typer, _commands: int, _groups: int) -> Any:
    """Returns the application's command, until the module of another command has added to it."""
    return typer.main.get_command(app)
