"""`python -m vaultstream worker keys|records|signing JOB`: how the engine starts its own workers."""

from __future__ import annotations

import sys

from vaultstream.descriptors import open_standard_descriptors
from vaultstream.starting import leave, run_plain_worker, serve_early

USAGE = 2
"""Exit code, as in `vaultstream.errors`."""


def main() -> int:
    """Runs the worker that the command line names; returns its exit code."""
    open_standard_descriptors()
    serve_early()
    code = run_plain_worker(sys.argv[1:])
    if code is None:
        sys.stderr.write("Usage: python -m vaultstream worker keys|records|signing JOB\n")
        return USAGE
    return code


leave(main())
