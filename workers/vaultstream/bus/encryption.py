"""TLS and logins to NATS: which certificates are trusted, and no password is sent before the server's certificate is verified."""

from __future__ import annotations

import asyncio
import importlib
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nats.errors
from nats.aio import transport
from nats.aio.transport import TcpTransport

from vaultstream.bus.certificates import tls_context
from vaultstream.bus.direct import DirectClient
from vaultstream.errors import BusError, UsageError
from vaultstream.transit import plain_peer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from nats.aio.client import Srv

    from vaultstream.bus.address import BusAddress
    from vaultstream.bus.nkeys import NatsKey

CLOSE_SECONDS = 0.2
_WEBSOCKETS = {"ws", "wss"}


class UnusableLoginError(nats.errors.Error):
    """A URL, a key, a certificate or a file of credentials that can't be used. It is read again at the next attempt."""

    def __init__(self, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.hint = hint


@contextmanager
def _tried_again() -> Iterator[None]:
    """Turns errors of what the files have now into one after which the client tries again; others would end its loop."""
    try:
        yield
    except (UsageError, BusError) as error:
        raise UnusableLoginError(error.message, error.hint) from None
    except ValueError:
        raise UnusableLoginError(
            "The URL or the login of NATS can't be read.", "Correct VAULTSTREAM_NATS_URL."
        ) from None


def login_key(address: BusAddress) -> NatsKey | None:
    """Returns the key that an address logs in with; None: it has none.

    Raises:
        UsageError: it can't be read; the error names the setting.
    """
    if not (address.creds or address.nkey):
        return None
    from vaultstream.bus.nkeys import NatsKey  # noqa: PLC0415 - few logins are by a key

    try:
        return NatsKey.from_creds(address.creds) if address.creds else NatsKey.from_seed(address.nkey)
    except UsageError as error:
        kind = "creds" if address.creds else "nkey"
        setting = f"VAULTSTREAM_NATS_{kind.upper()}_FILE" if address.files.folder is None else f"nats-{kind}"
        raise UsageError(f"{setting}: {error.message}", hint=error.hint, field=setting) from None


class BusClient(DirectClient):
    """The client of NATS, extended for TLS, and for credentials and certificates that are read again at each connect.

    Args:
        address: how to connect. With TLS, nothing is sent if the server does not offer it.
    """

    def __init__(self, address: BusAddress) -> None:
        super().__init__()
        self._address = address
        self._encrypted = address.current().encrypted
        self.established = False
        """Whether the first connection was made. From then on, a refused login is tried again: it may be changing."""
        self._greeted = False

    @property
    def ssl_context(self) -> ssl.SSLContext:
        with _tried_again():
            address = self._address.current()
            return tls_context(address.ca_file, address.cert_file, address.key_file)

    def _connect_command(self) -> bytes:
        with _tried_again():
            self._log_in(self._address.current())
        return super()._connect_command()

    def _log_in(self, address: BusAddress) -> None:
        self._auth_configured = True
        self._signature_cb = self._user_jwt_cb = self._public_nkey = None
        if found := login_key(address):
            self._signature_cb = found.sign
            self._user_jwt_cb = found.jwt.encode if found.jwt else None
            self._public_nkey = found.public
        here = self._current_server.uri if self._current_server else urlsplit(address.urls[0])
        login = address.login(here.hostname, here.port)
        self.options |= {"user": login.user, "password": login.password, "token": login.token}

    @property
    def plain_peer(self) -> str | None:
        """The address of NATS if the connection leaves this host without TLS, else None."""
        writer = self._transport._io_writer if isinstance(self._transport, _Transport) else None  # noqa: SLF001 - the library has no other way
        return None if writer is None else plain_peer(writer.get_extra_info)

    async def _connect_to_server(self, s: Srv) -> None:
        if s.uri.scheme in _WEBSOCKETS:
            _load_websockets()
        elif self._transport is None:
            self._transport = _Transport()  # type: ignore[no-untyped-call]
        async with asyncio.timeout(self.options["connect_timeout"]):  # the library sets none for WebSockets
            await super()._connect_to_server(s)

    def _over_websockets(self) -> bool:
        server = self._current_server
        return server is not None and server.uri.scheme in _WEBSOCKETS

    async def _process_err(self, err_msg: str) -> None:
        """Reconnects after an error by which the server ends a connection; the library would close it for good.

        Such are credentials that have expired, too many connections or subscriptions: a later connection can be accepted.
        """
        if self.is_connected and "permissions violation" not in err_msg.lower():
            error = nats.errors.Error(f"nats: {err_msg.strip(chr(39))}")
            await self._error_cb(error)
            await self._process_op_err(error)
            return
        await super()._process_err(err_msg)

    async def _process_connect_init(self) -> None:
        """Begins a connection. A server with `handshake_first` does not greet before TLS: the next attempt begins with TLS."""
        self._greeted = False
        try:
            await super()._process_connect_init()
        except (nats.errors.Error, OSError, TimeoutError):
            if self._encrypted and not self._greeted and not self._over_websockets():
                self.options["tls_handshake_first"] = not self.options["tls_handshake_first"]
            raise

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        self._greeted = True
        # Over WebSockets, TLS is below the protocol of NATS.
        if self._encrypted and not self._over_websockets():
            if initial_connection and not (info.get("tls_required") or info.get("tls_available")):
                raise nats.errors.SecureConnWantedError
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


def _load_websockets() -> None:
    """Loads what the client needs for WebSockets, which no program loads at its start.

    Raises:
        UnusableLoginError: it is not installed.
    """
    loaded: Any = transport
    if loaded.aiohttp is not None:
        return
    sys.modules.pop("aiohttp", None)  # a command keeps it from being loaded
    try:
        loaded.aiohttp = importlib.import_module("aiohttp")
        loaded.multidict = importlib.import_module("multidict")
    except ImportError:
        raise UnusableLoginError(
            "WebSockets need the package aiohttp.", "Install it: `pip install aiohttp`."
        ) from None


class _Transport(TcpTransport):
    def __bool__(self) -> bool:
        return True  # otherwise the client replaces this transport with its own

    async def wait_closed(self) -> None:
        """Waits briefly: a connection whose TLS handshake failed never reports that it is closed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(super().wait_closed(), CLOSE_SECONDS)  # type: ignore[no-untyped-call]
