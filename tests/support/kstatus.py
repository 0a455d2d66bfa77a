"""The verdict of kstatus on an object: the library with which Flux, Helm and others compute an object's status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from kube.commands import run


class Verdict(NamedTuple):
    """A status of kstatus, such as `InProgress`, `Failed` or `Current`, and its message."""

    status: str
    message: str


class Kstatus:
    """The library, behind a program that reads objects and prints verdicts.

    Args:
        program: its path.
    """

    def __init__(self, program: Path) -> None:
        self._program = program

    async def verdict(self, body: dict[str, Any]) -> Verdict:
        """Returns the verdict on an object as the API server has it.

        Raises:
            CommandError: it can't read the object.
        """
        output = await run(self._program, stdin=json.dumps(body))
        return Verdict(**json.loads(output.stdout))
