"""Standard error that can't be written stops nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

NOTES = """
import sys
from vaultstream.descriptors import outlive_full_disk
outlive_full_disk()
print("a note", file=sys.stderr, flush=True)
print("the result")
"""


def test_a_note_that_has_no_room_on_the_disk_stops_no_command() -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-c", NOTES], stdout=subprocess.PIPE, stderr=full, check=False, text=True
        )
    assert (ran.returncode, ran.stdout) == (0, "the result\n")


def test_a_note_that_has_room_is_written() -> None:
    ran = subprocess.run([sys.executable, "-c", NOTES], capture_output=True, check=False, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "the result\n", "a note\n")
