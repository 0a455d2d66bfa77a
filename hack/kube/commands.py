"""Running a command to its end, and waiting for a condition."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.errors import LocalServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Output:
    """What a command left: its exit status and the text on its two streams."""

    status: int
    stdout: str
    stderr: str


class CommandError(LocalServiceError):
    """A command ended with a status other than 0. `output` has all that it said."""

    def __init__(self, command: str, output: Output) -> None:
        said = (output.stderr or output.stdout).strip()
        super().__init__(f"`{command}` ended with status {output.status}: {said[-2000:]}")
        self.output = output


async def run(
    *command: str | Path,
    stdin: str = "",
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Output:
    """Runs `command`, with `stdin` as its input; it and everything it started are killed if the caller is canceled.

    Args:
        command: program and arguments; no shell is involved.
        stdin: text for its standard input.
        check: whether a status other than 0 is an error.
        cwd: the directory it runs in.
        env: its environment, instead of this process's.

    Raises:
        CommandError: it failed, and `check` is set.
    """
    words = [str(word) for word in command]
    child = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    try:
        stdout, stderr = await child.communicate(stdin.encode())
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        raise
    output = Output(child.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
    if check and output.status:
        raise CommandError(" ".join(words), output)
    return output


async def succeeds(*command: str | Path) -> bool:
    """Whether `command` ends with status 0."""
    return (await run(*command, check=False)).status == 0


async def until(what: str, condition: Callable[[], Awaitable[bool]], *, seconds: float, hint: str) -> None:
    """Returns as soon as `condition` holds.

    Raises:
        LocalServiceError: it does not within `seconds`; says that `what` is not there, with `hint`.
    """
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise LocalServiceError(f"Not there after {seconds:.0f} s: {what}.", hint=hint)
        await asyncio.sleep(_POLL_SECONDS)
