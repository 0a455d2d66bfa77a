"""No nonce of the native extension is used twice, whoever calls it and whatever the kernel's generator does."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from vaultstream.crypto.multibuffer import Multibuffer, NativeKey
from vaultstream.crypto.rows import LEAST_WIDTH

pytestmark = [pytest.mark.unit, pytest.mark.timeout(600)]  # a million signatures on a busy machine

ROOT = Path(__file__).parents[2]
SCALARS = [sha256(bytes([number])).digest() for number in range(5)]
PAYLOAD = b"the same for all: a nonce that is repeated is a signature that is repeated"
R = slice(44, 64)
"""Bytes of a row that are of r, unless r is below 2^176."""


def rs_of(rows: bytes) -> list[bytes]:
    """Returns 20 bytes of each r."""
    return [rows[start + R.start : start + R.stop] for start in range(0, len(rows), LEAST_WIDTH)]


def keys_of(native: Multibuffer) -> list[NativeKey]:
    return [native.Key(scalar) for scalar in SCALARS]


def sign(native: Multibuffer, keys: Sequence[NativeKey], calls: int, size: int) -> list[bytes]:
    """Returns the rs of signatures over one payload, by all keys in turn, shared out in each call."""
    cuts = [size * part // len(keys) for part in range(len(keys) + 1)]
    counts = [after - before for before, after in pairwise(cuts)]
    payloads = [PAYLOAD] * size
    return [r for _ in range(calls) for r in rs_of(native.sign(keys, counts, payloads, None, LEAST_WIDTH))]


def in_a_child(native: Multibuffer, keys: Sequence[NativeKey], calls: int, size: int, to: Connection) -> None:
    to.send_bytes(b"".join(sign(native, keys, calls, size)))
    to.close()


def in_children(native: Multibuffer, keys: Sequence[NativeKey], calls: int, size: int) -> list[bytes]:
    """The same in two processes at a time, forked from this one, with its keys and all that it has in memory."""
    context = multiprocessing.get_context("fork")
    children = []
    for _ in range(2):
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=in_a_child, args=(native, keys, calls, size, there))
        child.start()
        there.close()
        children.append((child, here))
    found = []
    for child, here in children:
        rs = here.recv_bytes()
        child.join()
        assert child.exitcode == 0
        found += [rs[start : start + 20] for start in range(0, len(rs), 20)]
    return found


def test_of_a_million_signatures_no_two_have_one_r(native: Multibuffer) -> None:
    keys = keys_of(native)
    rs = sign(native, keys, 200, 1) + sign(native, keys, 500, 9) + sign(native, keys, 100, 64)
    rs += in_children(native, keys, 110, 1000)
    with ThreadPoolExecutor(4) as threads:
        for part in threads.map(lambda _: sign(native, keys, 190, 1000), range(4)):
            rs += part
    rs += in_children(native, keys, 1, 1000)  # again, after threads
    rs += sign(native, keys_of(native), 8, 1000)  # the same keys, opened again
    assert len(rs) > 1_000_000
    assert len(set(rs)) == len(rs)


SOURCE = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

static int interrupted;

ssize_t getrandom(void *to, size_t length, unsigned flags)
{
    const char *kind = getenv("KIND");
    if (!strcmp(kind, "forbidden")) {
        errno = EPERM;
        return -1;
    }
    if (!strcmp(kind, "ended")) {
        return 0;
    }
    if (!strcmp(kind, "repeating")) {
        memset(to, 7, length);
        return length;
    }
    if ((interrupted = !interrupted)) {
        errno = EINTR;
        return -1;
    }
    return syscall(SYS_getrandom, to, length > 5 ? 5 : length, flags);
}
"""
PROGRAM = """
import sys
from vaultstream.crypto import _multibuffer as native
key = native.Key(b"\\1" * 32)
rows = native.sign([key], [70], [b"%d" % number for number in range(70)], None, 105)
again = native.sign([key], [70], [b"%d" % number for number in range(70)], None, 105)
sys.stdout.write(rows.hex() + " " + again.hex())
"""


@pytest.fixture(scope="module")
def source(native: Multibuffer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Returns a function that signs twice under a source of randomness of some kind, and returns rows or the error."""
    compiler = shutil.which("gcc")
    if not compiler:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("source")
    (folder / "source.c").write_text(SOURCE)
    library = folder / "source.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "source.c"], check=True)

    def run(kind: str) -> str:
        environment = {"KIND": kind, "LD_PRELOAD": str(library), "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True, env=environment
        )
        return done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]

    return run


@pytest.mark.parametrize("kind", ["forbidden", "ended"])
def test_without_randomness_nothing_is_signed(source: Callable[[str], str], kind: str) -> None:
    assert source(kind) == "RuntimeError: The operating system gave no randomness for a nonce."


def test_a_source_that_is_interrupted_and_gives_little_at_a_time_is_asked_again(
    source: Callable[[str], str],
) -> None:
    rows, again = (rs_of(bytes.fromhex(part)) for part in source("slow").split())
    assert len({*rows, *again}) == 140


def test_a_source_that_repeats_itself_repeats_no_nonce_for_another_payload(
    source: Callable[[str], str],
) -> None:
    """As that of a virtual machine that is restored twice. The same payload gets the same signature, which tells nothing."""
    rows, again = (rs_of(bytes.fromhex(part)) for part in source("repeating").split())
    assert rows == again
    assert len(set(rows)) == 70
