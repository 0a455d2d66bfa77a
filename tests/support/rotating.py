"""Services whose credentials change while they run."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sysconfig
from asyncio.subprocess import Process
from base64 import b32encode, urlsafe_b64encode
from binascii import crc_hqx
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.waiting import eventually
from vaultstream.local.ports import choose_port

ACCOUNT, OPERATOR_KEY, USER_KEY = 0, 14 << 3, 20 << 3
"""Kinds of nkeys."""


@dataclass
class ChangingNats:
    """A nats-server that is started on the same port as often as needed, or told to read its configuration again."""

    folder: Path
    port: int
    scheme: str = "nats"
    process: Process | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    async def start(self, **config: Any) -> None:
        await self._write(config)
        program = Path(sysconfig.get_path("scripts")) / "nats-server"
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(program), "-c", str(self.folder / "nats.conf"), stdout=log, stderr=log
            )

        async def listens() -> bool:
            assert self.process, "it was started"
            assert self.process.returncode is None, (self.folder / "log").read_text()
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return True
            return False

        await eventually(listens)

    async def change(self, **config: Any) -> None:
        """Lets the server read another configuration. It disconnects users that are no longer in it."""
        await self._write(config)
        assert self.process
        self.process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.terminate()
            await self.process.wait()

    async def _write(self, config: Mapping[str, Any]) -> None:
        store = {"store_dir": str(self.folder / "store")}
        text = json.dumps({"listen": f"127.0.0.1:{self.port}", "jetstream": store, **config})
        await asyncio.to_thread((self.folder / "nats.conf").write_text, text)


@asynccontextmanager
async def changing_nats(folder: Path, *, scheme: str = "nats", **config: Any) -> AsyncIterator[ChangingNats]:
    """Starts a nats-server with this configuration, and stops it."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    nats = ChangingNats(folder, choose_port(), scheme)
    try:
        await nats.start(**config)
        yield nats
    finally:
        await nats.stop()


@dataclass(frozen=True)
class Nkey:
    """A pair of keys of NATS, of a kind."""

    kind: int
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)

    @property
    def public(self) -> str:
        return _checked(bytes([self.kind]) + self.private.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        head = bytes([18 << 3 | self.kind >> 5, (self.kind & 31) << 3])
        return _checked(head + self.private.private_bytes_raw())

    def jwt(self, subject: str, kind: str, **nats: Any) -> str:
        """Returns a JWT about `subject` that this key signs."""
        claims = {
            "jti": secrets.token_hex(8),
            "iat": 1_700_000_000,
            "iss": self.public,
            "name": kind,
            "sub": subject,
            "nats": {"type": kind, "version": 2, **nats},
        }
        text = ".".join(_encoded(json.dumps(each).encode()) for each in (_HEADER, claims))
        return f"{text}.{_encoded(self.private.sign(text.encode()))}"


_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


def creds_text(jwt: str, seed: str) -> str:
    """Returns the text of a file of credentials, as `nsc` writes it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


def _checked(body: bytes) -> str:
    return b32encode(body + crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
