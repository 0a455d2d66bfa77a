"""A witness that is not ours: litewitness of filippo.io/torchwood, with its key in an agent of SSH."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import sqlite3
import subprocess
import threading
from base64 import b64encode
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.waiting import eventually
from vaultstream.local.ports import choose_port
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.proof.merkle import EMPTY_ROOT
from vaultstream.proof.note import NoteKey, encode_base64
from vaultstream.sealing.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

NAME = "witness.example.com/w1"
_IDENTITIES, _IDENTITIES_ANSWER, _SIGN, _SIGN_ANSWER = 11, 12, 13, 14
"""Messages of https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent."""


@dataclass
class LiteWitness:
    """A running witness."""

    witness: Witness
    database: Path

    @property
    def setting(self) -> str:
        """The text of VAULTSTREAM_WITNESSES."""
        return f"{self.witness.key.vkey} {self.witness.submit.url.removesuffix('/add-checkpoint')}"

    def know(self, origin: str, *keys: NoteKey) -> None:
        """Adds a log, as `witnessctl add-log` and `add-key` do, or more keys of it."""
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute(
                "INSERT INTO log VALUES (?, 0, ?) ON CONFLICT DO NOTHING", (origin, encode_base64(EMPTY_ROOT))
            )
            database.executemany("INSERT INTO key VALUES (?, ?)", [(origin, key.vkey) for key in keys])


@asynccontextmanager
async def running(program: Path, folder: Path) -> AsyncIterator[LiteWitness]:
    """Starts a witness with a new key and no logs."""
    private = Ed25519PrivateKey.generate()
    agent, database, port = folder / "agent", folder / "witness.db", choose_port()
    fingerprint = b64encode(sha256(_blob(private)).digest()).decode().rstrip("=")
    with _agent(agent, private):
        process = await asyncio.create_subprocess_exec(
            *(program, "-name", NAME, "-db", database, "-ssh-agent", agent),
            *("-key", f"SHA256:{fingerprint}", "-listen", f"127.0.0.1:{port}"),
            stderr=subprocess.DEVNULL,
        )
        try:
            await eventually(
                lambda: process.returncode is not None or _listens(port), what="litewitness listens"
            )
            key = CosignerKey(NAME, private.public_key().public_bytes_raw())
            yield LiteWitness(Witness.parse(f"{key.vkey} http://127.0.0.1:{port}"), database)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextmanager
def _agent(path: Path, private: Ed25519PrivateKey) -> Iterator[None]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while length := self.rfile.read(4):
                message = self.rfile.read(int.from_bytes(length))
                self.wfile.write(_string(_answer(private, message)))

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _answer(private: Ed25519PrivateKey, message: bytes) -> bytes:
    if message[0] == _IDENTITIES:
        return bytes([_IDENTITIES_ANSWER]) + (1).to_bytes(4) + _string(_blob(private)) + _string(b"")
    assert message[0] == _SIGN
    start = 1 + 4 + len(_blob(private))
    data = message[start + 4 : start + 4 + int.from_bytes(message[start : start + 4])]
    return bytes([_SIGN_ANSWER]) + _string(_string(b"ssh-ed25519") + _string(private.sign(data)))


def _blob(private: Ed25519PrivateKey) -> bytes:
    return _string(b"ssh-ed25519") + _string(private.public_key().public_bytes_raw())


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data
