"""The processes that share a verification: started, given runs of batches, and always stopped."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from vaultstream.audit.checks.checker import open_checker
from vaultstream.audit.report import Tally
from vaultstream.errors import DatabaseError, ProcessError, VaultStreamError
from vaultstream.store.database import explain

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from vaultstream.audit.checks.source_rows import SourceRange

_T = TypeVar("_T")
_LINE_BYTES = 64 * 1024 * 1024
_LEAVE_SECONDS = 5.0


@dataclass(frozen=True)
class Run:
    """Batches that one process checks in one request."""

    first: int
    last: int
    records: int
    rows: SourceRange | None = None
    """Rows of the source that it compares with the batches."""


async def check_runs(
    hello: dict[str, Any],
    runs: Sequence[Run],
    *,
    processes: int,
    advance: Callable[[Run], None],
    relieve: Callable[[Tally], Awaitable[None]],
) -> Tally:
    """Checks all runs, each in the first free process, and adds up the findings. A single one is checked in this process.

    Args:
        hello: the first message to each process.
        runs: the runs to check.
        processes: at most this many processes.
        advance: called after each run.
        relieve: awaited after each run, one at a time, with what was found so far: takes out of it what would use much memory.

    Raises:
        DatabaseError: a process reported it, the other processes are stopped; or this one failed.
        VaultStreamError: a process died.
    """
    total, relieving = Tally(), asyncio.Lock()

    async def add(run: Run, answer: dict[str, Any]) -> None:
        # While one run waits for its turn, its process gets no other one: what is found meanwhile is bounded by the processes.
        async with relieving:
            total.merge(Tally.load(answer["tally"]))
            advance(run)
            await relieve(total)

    if len(runs) == 1:  # faster than to start a process
        total.merge(await _check_here(hello, runs[0]))
        advance(runs[0])
        return total
    requests = [(run, {"first": run.first, "last": run.last, "rows": run.rows}) for run in runs]
    await ask_all("vaultstream.audit.process", hello, requests, processes=processes, answered=add)
    return total


async def _check_here(hello: dict[str, Any], run: Run) -> Tally:
    try:
        async with open_checker(hello) as checker:
            return await checker.check(run.first, run.last, run.rows)
    except (VaultStreamError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        explained = explain(error)
        raise DatabaseError(explained.message, hint=explained.hint) from None


async def ask_all(
    module: str,
    hello: dict[str, Any],
    requests: Iterable[tuple[_T, dict[str, Any]]],
    *,
    processes: int,
    answered: Callable[[_T, dict[str, Any]], Awaitable[None]],
) -> None:
    """Gives each request to the first free process.

    Args:
        module: what a process runs: it reads JSON from standard input, and answers each line but the first with one.
        hello: the first line to each process.
        requests: what they are about, and the lines.
        processes: at most this many processes.
        answered: awaited with each answer, before its process gets another request.

    Raises:
        DatabaseError: a process reported it; the other processes are stopped.
        VaultStreamError: a process died.
    """
    waiting = deque(requests)

    async def work() -> None:
        async with _verifier(module, hello) as process:
            while waiting:
                about, request = waiting.popleft()
                await answered(about, await _ask(process, request))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(processes, len(waiting))):
                group.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


@asynccontextmanager
async def _verifier(module: str, hello: dict[str, Any]) -> AsyncIterator[Process]:
    # In its own session: Ctrl-C in the terminal goes to the command only, which then stops this process.
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessError("A verifying process", error) from None
    try:
        await _send(process, hello)
        yield process
        _stdin(process).close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _LEAVE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ask(process: Process, request: dict[str, Any]) -> dict[str, Any]:
    await _send(process, request)
    assert process.stdout is not None  # noqa: S101 - asked for above
    line = await process.stdout.readline()
    if not line:
        code = await process.wait()
        raise VaultStreamError(
            f"A verifying process ended unexpectedly with exit status {code}.",
            hint="It may have been killed or run out of memory. Try again with fewer --processes.",
        )
    answer: dict[str, Any] = json.loads(line.decode("utf-8", "surrogatepass"))
    if "error" in answer:
        raise DatabaseError(answer["error"], hint=answer["hint"])
    return answer


async def _send(process: Process, value: dict[str, Any]) -> None:
    stdin = _stdin(process)
    if stdin.is_closing():
        return  # as below; uvloop refuses to write
    stdin.write(json.dumps(value).encode() + b"\n")
    try:
        await stdin.drain()
    except ConnectionError:
        return  # the process ended; its last answer, if any, is read next


def _stdin(process: Process) -> asyncio.StreamWriter:
    assert process.stdin is not None  # noqa: S101 - asked for above
    return process.stdin
