"""`python -m support.chaos`: a storm from the command line, as `make chaos` starts it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from support.chaos.arena import open_arena
from support.chaos.storm import DISK, Storm
from support.disks import small_disk_if_root
from vaultstream.local.services import LocalServices

logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # an unreachable Postgres is intended


async def _main(options: argparse.Namespace, folder: Path) -> None:
    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    tell(f"seed {options.seed}: until {options.faults} faults or {options.minutes:g} minutes")
    with small_disk_if_root(DISK) as disk:
        if disk is None:
            tell("no file system fills up: mounting one needs root")
        async with LocalServices(folder / "services") as local, open_arena(local) as arena:
            await arena.make_records()
            faults, seconds = options.faults, 60 * options.minutes
            await Storm(arena, seed=options.seed, faults=faults, seconds=seconds, tell=tell, disk=disk).rage()


parser = argparse.ArgumentParser(
    prog="make chaos", description="Faults of all kinds at once, on running jobs."
)
parser.add_argument("--seed", type=int, default=None, help="the order of faults; by chance if not given")
parser.add_argument("--faults", type=int, default=1000, help="ends after so many")
parser.add_argument("--minutes", type=float, default=30, help="ends after so long")
options = parser.parse_args()
options.seed = secrets.randbelow(10**6) if options.seed is None else options.seed
for number in (signal.SIGINT, signal.SIGTERM):  # also if a shell started it in the background
    signal.signal(number, signal.default_int_handler)
try:
    with tempfile.TemporaryDirectory(prefix="vaultstream-chaos-") as name:
        Path(name).chmod(0o711)  # Postgres may run as another user
        asyncio.run(_main(options, Path(name)))
except KeyboardInterrupt:
    sys.exit(130)
except AssertionError as broken:
    sys.exit(f"BROKEN: {broken}")
