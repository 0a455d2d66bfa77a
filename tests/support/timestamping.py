"""An authority of timestamps that is not ours: `openssl ts` behind a web server."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_CONFIGURATION = """
[tsa]
dir = {folder}
serial = $dir/serial
signer_cert = $dir/tsa.pem
signer_key = $dir/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[stamp]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
"""


class Authority:
    """An authority with certificates of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._configuration = folder / "openssl.cnf"
        self._configuration.write_text(_CONFIGURATION.format(folder=folder))
        (folder / "serial").write_text("01\n")
        new = (
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-days",
            "30",
        )
        config = ("-config", self._configuration)
        self._openssl(*new, *config, "-subj", "/CN=Test CA", "-extensions", "ca", *self._pair("ca"))
        issuer = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key")
        self._openssl(
            *new, *config, "-subj", "/CN=Test TSA", "-extensions", "stamp", *issuer, *self._pair("tsa")
        )

    @property
    def ca_file(self) -> Path:
        return self._folder / "ca.pem"

    def answer(self, query: bytes) -> bytes:
        (self._folder / "query").write_bytes(query)
        self._openssl(
            *("ts", "-reply", "-queryfile", self._folder / "query", "-out", self._folder / "reply"),
            *("-config", self._configuration, "-section", "tsa"),
        )
        return (self._folder / "reply").read_bytes()

    def verifies(self, response: Path, data: Path) -> bool:
        """Returns whether `openssl ts -verify` accepts a timestamp."""
        done = subprocess.run(
            ["openssl", "ts", "-verify", "-in", response, "-data", data, "-CAfile", self.ca_file],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode == 0 and "Verification: OK" in done.stdout + done.stderr

    @asynccontextmanager
    async def serving(self, *, altered: bytes | None = None) -> AsyncIterator[str]:
        """Serves timestamps and yields the URL. With `altered`, each answer is that."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            query = await reader.readexactly(length)
            answer = altered if altered is not None else await asyncio.to_thread(self.answer, query)
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/timestamp-reply\r\n\r\n" + answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/tsa"

    def _pair(self, name: str) -> tuple[str | Path, ...]:
        return "-keyout", self._folder / f"{name}.key", "-out", self._folder / f"{name}.pem"

    def _openssl(self, *arguments: str | Path) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
