"""An empty path, as from a variable that is not set, does not mean the working directory."""

from __future__ import annotations

import pytest

from support.in_process import CliRunner
from vaultstream_cli.main import load
from vaultstream_cli.root import app

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "--data-dir", ""),
        ("jobs", "--kek-file", ""),
        ("extract", "job", "1", "--to", ""),
        ("prove", "job", "1", "--out", ""),
    ],
)
def test_an_empty_path_is_refused(arguments: tuple[str, ...]) -> None:
    load(None)
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 2
    assert "it is empty" in ran.output
