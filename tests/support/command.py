"""The `vaultstream` command as users start it: a process in its own folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from support.forking import run_command
from support.local_workers import workers_of

_OURS = ("VAULTSTREAM_", "DATABASE_URL", "BATCH_SIZE", "TOTAL_", "MAX_SIGNERS")


class Command:
    """Runs `vaultstream` in `folder`, whose `.vaultstream` is its data directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def data_dir(self) -> Path:
        return self.folder / ".vaultstream"

    def environment(self, **given: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        return {**kept, **given}

    def start(
        self, *arguments: str, output: IO[str] | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        """Starts it; its output and errors go to pipes, or both to a file."""
        return subprocess.Popen(
            [sys.executable, "-m", "vaultstream_cli", *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT if output else subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        ran = run_command(arguments, cwd=self.folder, env=self.environment(**environment))
        assert ran.returncode == expect, f"exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran

    def json(self, *arguments: str, expect: int = 0, **environment: str) -> Any:
        return json.loads(self.run(*arguments, "--json", expect=expect, **environment).stdout)

    def manifest(self, name: str, **spec: Any) -> str:
        """Writes a SigningJob's YAML (JSON is YAML) and returns its path."""
        path = self.folder / f"{name}.yaml"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "vaultstream.dev/v1alpha1",
                    "kind": "SigningJob",
                    "metadata": {"name": name},
                    "spec": spec,
                }
            )
        )
        return str(path)

    def workers(self) -> list[int]:
        """Process ids of this folder's live workers."""
        return workers_of(self.data_dir)
