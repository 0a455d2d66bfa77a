"""Runs commands, and waits for conditions."""

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
    """The exit code of a command, and the text on standard output and standard error."""

    status: int
    stdout: str
    stderr: str


class CommandError(LocalServiceError):
    """A command failed. `output` has its exit code and its complete output."""

    def __init__(self, command: str, output: Output) -> None:
        said = (output.stderr or output.stdout).strip()
        super().__init__(f"`{command}` failed with exit code {output.status}: {said[-2000:]}")
        self.output = output


async def run(
    *command: str | Path,
    stdin: str = "",
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Output:
    """Runs `command`. If the caller is canceled, it is killed with all of its child processes.

    Args:
        command: program and arguments; no shell is involved.
        stdin: text for its standard input.
        check: whether an exit code other than 0 is an error.
        cwd: its working directory.
        env: its environment, instead of this process's.

    Raises:
        CommandError: it failed, and `check` is set.
    """
    words = [str(word) for word in command]
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    )
    try:
        # asyncio kills only the program itself if a start is canceled, and the program may have children by then.
        child = await asyncio.shield(starting)
        stdout, stderr = await child.communicate(stdin.encode())
    except BaseException:
        child = await starting
        os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        raise
    output = Output(child.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
    if check and output.status:
        raise CommandError(" ".join(words), output)
    return output


async def succeeds(*command: str | Path) -> bool:
    """Returns whether `command` exits with 0."""
    return (await run(*command, check=False)).status == 0


async def until(what: str, condition: Callable[[], Awaitable[bool]], *, seconds: float, hint: str) -> None:
    """Returns as soon as `condition` holds.

    Raises:
        LocalServiceError: it does not hold within `seconds`; the message names `what`.
    """
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise LocalServiceError(f"Timed out after {seconds:.0f} s waiting for {what}.", hint=hint)
        await asyncio.sleep(_POLL_SECONDS)
