"""The embedded NATS: a real `nats-server` with JetStream, on its own port, for one data directory.

It listens only on 127.0.0.1 and requires a password, because every user of the machine can reach a TCP port. The password
is in a file of mode 0600 and in the server's configuration of the same mode, never in arguments.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vaultstream.errors import LocalServiceError
from vaultstream.local import processes
from vaultstream.local.diagnosis import explain_failure, free_bytes
from vaultstream.local.files import make_private_dir, number_in, open_log, read_from, size_of, write_private
from vaultstream.local.ports import HOST, choose_port, is_free
from vaultstream.local.processes import Running
from vaultstream.local.programs import nats_program, require_nats_program

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]

_log = logging.getLogger(__name__)

USER = "vaultstream"
_PORT_TAKEN = "address already in use"
_START_SECONDS = 120.0  # it reads its whole store at the start
_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LEAVE_SECONDS = 2.0
_STOP_STEPS = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
_VARIABLES = {"GOGC": "400"}
"""It collects garbage when its heap, of some 10 MB, has grown fivefold, not twofold: a tenth of its processor time."""


def configuration(*, port: int, name: str, store: Path, pid_file: Path, password: str) -> str:
    """Returns the text of the server's configuration, where strings have the syntax of JSON."""
    return f"""\
# Written by vaultstream at every start of the embedded server. It holds a password: keep it private.
listen: "{HOST}:{port}"
server_name: {json.dumps(name)}
pid_file: {json.dumps(str(pid_file), ensure_ascii=False)}
max_payload: 1MB
jetstream {{
  store_dir: {json.dumps(str(store), ensure_ascii=False)}
  # The default, two minutes. "always" would cost most of the speed and gain nothing: Postgres is the authority,
  # and whatever JetStream forgets in a power cut is published again from there.
  sync_interval: "2m"
}}
authorization {{
  user: {json.dumps(USER)}
  password: {json.dumps(password)}
}}
"""


class EmbeddedNats:
    """The NATS server of one data directory. The caller must serialize starting and stopping."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._home = data_dir / "nats"
        self._config = self._home / "nats.conf"
        self._pid_file = self._home / "nats.pid"
        self._password_file = self._home / "password"
        self._port_file = self._home / "port"
        self.log_file = data_dir / "nats.log"
        self._command = (str(nats_program()), "-c", str(self._config))

    @property
    def password(self) -> str:
        """The password of the user `vaultstream`, generated at the first start of the server."""
        return self._password_file.read_text(encoding="utf-8")

    def find(self) -> Running | None:
        """Returns the server if it runs, ready or not; starts nothing."""
        process = processes.find(number_in(self._pid_file), self._command)
        return Running(process.pid, self._url()) if process else None

    async def ensure(self) -> Running:
        """Starts the server unless it runs; returns once its JetStream answers.

        It keeps its port over restarts, where clients find it again. If another program has taken the port, it gets
        another one and logs that.

        Raises:
            LocalServiceError: it does not start; the message has the end of its log, the hint what to do.
        """
        try:
            return await self._ensure()
        except OSError as error:
            raise self._failure(str(error)) from error

    async def stop(self) -> bool:
        """Stops the server, which closes its store cleanly; returns whether it ran."""
        process = self._process()
        if process is None:
            return False
        if not await processes.end(process, _STOP_STEPS):
            raise LocalServiceError(
                f"The embedded NATS (process {process.pid}) does not stop.", hint=f"See {self.log_file}."
            )
        return True

    async def _ensure(self) -> Running:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            log_start = size_of(self.log_file)
            adopted = self._process()
            if adopted is None:
                await self._left()
            process = adopted or self._spawn()
            while processes.is_alive(process):
                if await self._answers():
                    return Running(process.pid, self._url())
                if time.monotonic() > deadline:
                    raise self._failure(read_from(self.log_file, log_start))
                await asyncio.sleep(_POLL_SECONDS)
            log_text = read_from(self.log_file, log_start)
            passing = adopted or _PORT_TAKEN in log_text  # a server found running may have been about to stop
            if not passing or time.monotonic() > deadline:
                raise self._failure(log_text)

    async def _left(self) -> None:
        """Waits for a server that was killed to leave its port: its first thread ends before its others.

        Clients know the port, so it is not given up for a moment's sake; another program keeps it for longer.
        """
        port, deadline = number_in(self._port_file), time.monotonic() + _LEAVE_SECONDS
        while port and not is_free(port) and time.monotonic() < deadline:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(_POLL_SECONDS)

    def _process(self) -> psutil.Process | None:
        """Returns the server's process, also if the process that started it was killed before the pid file was written.

        This searches all processes, because two servers on one store would corrupt it.
        """
        known = processes.find(number_in(self._pid_file), self._command)
        return known or next(processes.find_all(self._command), None)

    def _spawn(self) -> psutil.Process:
        require_nats_program()
        make_private_dir(self._home)
        if not self._password_file.exists():
            write_private(self._password_file, secrets.token_urlsafe(32))
        wanted = number_in(self._port_file)
        port = choose_port(wanted)
        if port != wanted:
            if wanted:
                _log.warning(
                    "port %d of the embedded NATS is taken by another program, moving to %d", wanted, port
                )
            write_private(self._port_file, str(port))
        text = configuration(
            port=port,
            name=self._server_name(),
            store=self._home,
            pid_file=self._pid_file,
            password=self.password,
        )
        write_private(self._config, text)
        output = open_log(self.log_file)
        try:
            return processes.spawn(self._command, output=output, variables=_VARIABLES)
        finally:
            os.close(output)

    async def _answers(self) -> bool:
        """Returns whether our server runs and its JetStream serves our account.

        It reads the server's first line before it sends a password: another user's program may listen there.
        """
        port = number_in(self._port_file)
        if port is None:
            return False
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(HOST, port)
                try:
                    greeting = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        verb, _, body = greeting.partition(b" ")
        if verb != b"INFO" or json.loads(body).get("server_name") != self._server_name():
            return False
        return await self._jetstream_answers()

    async def _jetstream_answers(self) -> bool:
        async def ignore(_: Exception) -> None:
            pass  # only the outcome counts, and it is returned

        import nats.errors  # noqa: PLC0415 - commands that find it running, or need none, don't load the client
        from nats.js.errors import ServiceUnavailableError  # noqa: PLC0415

        try:
            client = await nats.connect(
                self._url(),
                user=USER,
                password=self.password,
                allow_reconnect=False,
                connect_timeout=int(_ANSWER_SECONDS),
                error_cb=ignore,
            )
        except (OSError, TimeoutError, nats.errors.Error):
            return False
        try:
            await client.jetstream(timeout=_ANSWER_SECONDS).account_info()
        except (TimeoutError, nats.errors.Error, ServiceUnavailableError):
            return False
        finally:
            await client.close()
        return True

    def _server_name(self) -> str:
        """Returns a name that distinguishes this data directory's server from all others on the machine."""
        status = self._home.stat()
        return f"vaultstream-{status.st_dev:x}-{status.st_ino:x}"

    def _url(self) -> str:
        return f"nats://{HOST}:{number_in(self._port_file)}"

    def _failure(self, log_text: str) -> LocalServiceError:
        if self._password_file.exists():
            log_text = log_text.replace(self.password, "***")
        return explain_failure(
            "NATS",
            log_text,
            data_dir=self._data_dir,
            free_bytes=free_bytes(self._data_dir),
            log_file=self.log_file,
        )
