"""Programs that judge the proof of a record without any code of VaultStream: see tests/checkers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.node import find_node

_SOURCES = Path(__file__).parents[1] / "checkers"
_BUILD = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


@dataclass(frozen=True)
class Proven:
    """What a checker is given: the files of a proof, and what its user has pinned."""

    files: Mapping[str, bytes]
    seal_key: str
    origin: str
    key_pem: str


Judge = Callable[[Proven], str | None]
"""Returns why a proof is refused, or None if it is accepted."""


@dataclass(frozen=True)
class Checker:
    """A checker, as the command that starts it."""

    command: tuple[str | Path, ...]

    def refusal(self, proven: Proven, folder: Path) -> str | None:
        """Returns why the proof is refused, or None if it is accepted.

        Args:
            proven: the proof.
            folder: where to write the files.
        """
        folder.mkdir(exist_ok=True)
        for name, data in proven.files.items():
            (folder / name).write_bytes(data)
        pem = folder / "key.pem"
        pem.write_text(proven.key_pem)
        ran = subprocess.run(
            [*self.command, folder, proven.seal_key, proven.origin, pem],
            capture_output=True,
            text=True,
            check=False,
        )
        said = ran.stdout.strip()
        if (ran.returncode, said) == (0, "yes"):
            return None
        assert ran.returncode == 1, ran.stderr
        assert said.startswith("no: "), said + ran.stderr
        return said.removeprefix("no: ")


def go_checker(folder: Path) -> Checker | None:
    """Returns the checker on golang.org/x/mod/sumdb, built into a folder; None without Go."""
    program = build_go(folder / "check", ".")
    return Checker((program,)) if program else None


def build_go(program: Path, package: str) -> Path | None:
    """Builds a Go package of tests/checkers into a program; None without Go."""
    if shutil.which("go") is None:
        return None
    built = subprocess.run(
        ["go", "build", "-trimpath", "-o", program, package],
        cwd=_SOURCES / "go",
        env=os.environ | _BUILD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return program


def node_checker() -> Checker | None:
    """Returns the checker that needs nothing but Node; None without Node."""
    node = find_node()
    return Checker((node, _SOURCES / "node" / "check.mjs")) if node else None
