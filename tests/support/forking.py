"""The `vaultstream` command as a fork of a process that has loaded the engine already.

Each command is a process of its own, with its arguments, its environment and its exit code: only the time is saved in which Python
starts, loads the engine and frees it again, which is most of what a short command takes. The modules of the command itself are loaded
by each.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_SECONDS = 110.0
_LONGEST_REQUEST = 160 * 1024
_OTHERS = ("kek", "operator", "seal-key")
"""Commands that load aiohttp, which no other may."""


def run_command(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, without input, and reads what it wrote as text."""
    ran = run_command_raw(arguments, cwd=cwd, env=env)
    out, err = (io.TextIOWrapper(io.BytesIO(data), "utf-8").read() for data in (ran.stdout, ran.stderr))
    return subprocess.CompletedProcess(ran.args, ran.returncode, out, err)


def run_command_raw(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end, without input; in a Python of its own if it can't be forked."""
    if sys.platform == "linux" and (not arguments or arguments[0] not in _OTHERS):
        return _fork(arguments, cwd, env)
    return subprocess.run(
        [sys.executable, "-m", "vaultstream_cli", *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_SECONDS,
    )


def _fork(arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    request = json.dumps([list(arguments), str(cwd), dict(env)]).encode()
    assert len(request) <= _LONGEST_REQUEST
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
    ):
        connection.settimeout(_SECONDS)
        connection.connect(_server())
        socket.send_fds(connection, [request], [out.fileno(), err.fileno()])
        pid = int(connection.recv(64))
        try:
            status = int(connection.recv(64))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(["vaultstream", *arguments], status, out.read(), err.read())


@cache
def _server() -> bytes:
    """Starts the process that forks, which ends with this one; returns the name of its socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"\0vaultstream-tests-{os.getpid()}-{os.urandom(8).hex()}")
    listener.listen()
    server = subprocess.Popen(
        [sys.executable, __file__, str(listener.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
        cwd="/",
    )
    with listener:
        name: bytes = listener.getsockname()
    atexit.register(_end, server)
    return name


def _end(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin
    server.stdin.close()
    server.wait(10)


def _load() -> None:
    """Loads what commands load, except what belongs to the command and may depend on its environment."""
    from vaultstream.quick_imports import quick_imports  # noqa: PLC0415 - only in the process that forks
    from vaultstream_cli.main import load  # noqa: PLC0415

    sys.modules["aiohttp"] = None  # type: ignore[assignment] - as the command does

    with quick_imports():
        load(None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "vaultstream_cli"]:
        del sys.modules[name]
    assert threading.active_count() == 1


def _serve(listener: socket.socket) -> Sequence[str]:
    """Forks for each request until the input ends; returns only in a fork, the arguments of its command."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    os._exit(0)
                elif key.fileobj is listener:
                    connection, _ = listener.accept()
                    request, fds, _, _ = socket.recv_fds(connection, _LONGEST_REQUEST, 2)
                    if (pid := os.fork()) == 0:
                        break
                    for fd in fds:
                        os.close(fd)
                    connection.send(str(pid).encode())
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                else:
                    pid, connection = key.data
                    _, status = os.waitpid(pid, 0)
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
                    connection.close()
            else:
                continue
            break
    connection.close()
    listener.close()
    arguments, cwd, environment = json.loads(request)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((nowhere, *fds)):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    return list(arguments)


def main() -> None:
    listener = socket.socket(fileno=int(sys.argv[1]))
    _load()
    sys.argv[1:] = _serve(listener)
    from vaultstream_cli.main import main as command  # noqa: PLC0415 - with what its environment says

    try:
        command()
    except SystemExit as leaving:
        if isinstance(leaving.code, int | None):
            _end_without_freeing(leaving.code or 0)
        raise


def _end_without_freeing(status: int) -> None:
    """Ends the command as Python does, except that modules are not freed: that takes most of the time of a short command.

    Returns if an output can't be written: Python then ends with an exit code of its own.
    """
    threading._shutdown()  # type: ignore[attr-defined] - waits for the threads
    atexit._run_exitfuncs()
    gc.collect()  # what was left open complains
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # full, closed
        return
    os._exit(status)


if __name__ == "__main__":
    main()
