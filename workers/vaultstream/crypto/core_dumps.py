"""Keeps a process that holds private keys or key-encryption keys from being copied to disk when it crashes."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from vaultstream.errors import CustodyError

_PR_SET_DUMPABLE = 4
"""From Linux's prctl.h."""


def forbid_core_dumps() -> None:
    """Makes this process leave no core dump and, on Linux, refuse to be traced or read by others of its user.

    RLIMIT_CORE alone does not bind a core_pattern that pipes to a program: that one asks whether the process is dumpable.
    A program that this one executes is dumpable again, but keeps the limit.

    Raises:
        CustodyError: the kernel refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise CustodyError(f"Core dumps can't be switched off: {os.strerror(ctypes.get_errno())}.")
