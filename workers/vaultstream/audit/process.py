"""A verifying process: reads runs of batches from standard input and writes tallies to standard output.

There is one JSON value per line. The first line names the database and the job: no password is passed as an argument.
Each later line names a run. The process ends with its input, so also when its parent dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from vaultstream.quick_imports import quick_imports

with quick_imports():
    import asyncpg
    import uvloop

    from vaultstream.audit.checks.checker import open_checker
    from vaultstream.audit.checks.source_rows import SourceRange
    from vaultstream.errors import VaultStreamError
    from vaultstream.store.database import explain

if TYPE_CHECKING:
    from typing import BinaryIO

Requests = asyncio.Queue[dict[str, Any]]


async def serve(requests: Requests, output: BinaryIO) -> None:
    """Answers requests until it is canceled."""
    try:
        async with open_checker(await requests.get()) as checker:
            while True:
                run = await requests.get()
                rows_of = run["rows"] and SourceRange(*run["rows"])
                tally = await checker.check(run["first"], run["last"], rows_of)
                _answer(output, {"tally": tally.dump()})
    except (VaultStreamError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        explained = explain(error)
        _answer(output, {"error": explained.message, "hint": explained.hint})


def _answer(output: BinaryIO, value: dict[str, Any]) -> None:
    output.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    output.flush()


async def _read(requests: Requests) -> None:
    """Puts each line of standard input into the queue, until the input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    while line := await reader.readline():
        requests.put_nowait(json.loads(line))


async def _main(output: BinaryIO) -> None:
    requests = Requests()
    serving = asyncio.create_task(serve(requests, output))
    reading = asyncio.create_task(_read(requests))
    await asyncio.wait((serving, reading), return_when=asyncio.FIRST_COMPLETED)
    for task in (serving, reading):
        task.cancel()
    for outcome in await asyncio.gather(serving, reading, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def main() -> None:
    """Runs the process. Stray prints go to standard error, so that they don't mix with the answers."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        uvloop.run(_main(output))


if __name__ == "__main__":
    main()
