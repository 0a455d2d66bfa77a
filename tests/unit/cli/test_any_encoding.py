"""An output of any encoding gets every text, and JSON with the same value."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

TEXT = "é ⌈5 / 2⌉ 😀 \udcff"
"""With a character of Latin-1, one of the BMP, one beyond, and a byte of a file's name that is not UTF-8."""

PRINT = f"""
from vaultstream_cli.main import escape_unknown_characters
from vaultstream_cli.output import *
escape_unknown_characters()
print_object({{"key": {TEXT!a}}})
print_text({TEXT!a}); print_line({TEXT!a}); print_table(["a"], [[{TEXT!a}]]); note({TEXT!a})
"""


def run(encoding: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "shift_jis", "utf-8"])
def test_every_text_is_printed_in_any_encoding(encoding: str) -> None:
    ran = run(encoding, "-c", PRINT)
    assert (ran.returncode, b"Traceback" in ran.stderr) == (0, False)
    out = ran.stdout.decode(encoding)
    value, _ = json.JSONDecoder().raw_decode(out)
    assert value == {"key": TEXT}


def test_the_help_is_printed_in_any_encoding() -> None:
    ran = run("ascii", "-m", "vaultstream_cli", "run", "--help")
    assert (ran.returncode, ran.stderr) == (0, b"")
