"""Each test finds the output as a new process does."""

from __future__ import annotations

import pytest

from vaultstream_cli.forms import FormWanted
from vaultstream_cli.output import use_form


@pytest.fixture(autouse=True)
def _form_of_a_new_process() -> None:
    use_form(FormWanted())
