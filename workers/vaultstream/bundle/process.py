"""A process that checks parts of a bundle's records: reads JSON from standard input, one value per line, and writes such answers.

The first line names the bundle and what is expected of its records; each later one a part of the file. The process ends with its
input, so also when its parent dies.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from vaultstream.quick_imports import quick_imports

with quick_imports():
    from vaultstream.bundle.folder import BundleFolder
    from vaultstream.bundle.layout import BundleFile
    from vaultstream.bundle.records import Expectation, RecordsChecker
    from vaultstream.errors import ProofError


def check_parts(requests: BinaryIO, output: BinaryIO) -> None:
    """Answers requests until their end."""
    hello = json.loads(requests.readline())
    folder, checker = BundleFolder(Path(hello["folder"])), RecordsChecker(Expectation(**hello["expectation"]))
    for line in requests:
        part = json.loads(line)
        try:
            found = asdict(checker.check(folder.lines(BundleFile.RECORDS, part["start"], part["end"])))
        except ProofError as error:
            found = {"unreadable": error.message}
        output.write(json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        output.flush()


def main() -> None:
    """Runs the process. Stray prints go to standard error, so that they don't mix with the answers."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        check_parts(sys.stdin.buffer, output)


if __name__ == "__main__":
    main()
