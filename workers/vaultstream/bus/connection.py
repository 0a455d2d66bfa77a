"""The connection to NATS."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import nats
import nats.errors
import nats.js.errors

from vaultstream.bus.address import BusAddress
from vaultstream.bus.certificates import tls_context
from vaultstream.bus.encryption import BusClient, UnusableLoginError, login_key
from vaultstream.bus.permissions import inbox_prefix
from vaultstream.bus.refusals import Refusals, explain_refusal
from vaultstream.bus.tenants import api_prefix
from vaultstream.credentials import where_to_correct
from vaultstream.errors import DOCTOR, BusError, explain_own_certificate, explain_tls, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping

    from nats.js import JetStreamContext


_T = TypeVar("_T")

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
API_TIMEOUT_SECONDS = 5.0

BUS_ERRORS = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
"""What any call on the bus may raise while NATS is unreachable; a reconnect is already under way."""
_UNREADABLE = (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RecursionError)
"""What the library raises on an answer that JetStream does not give."""


def unreadable_answer(error: Exception | None = None) -> nats.errors.Error:
    """Returns the error for an answer that JetStream does not give; a later one may be."""
    return nats.errors.Error(f"nats: an answer that can't be read{f': {shown(error)}' if error else ''}")


@contextmanager
def readable() -> Iterator[None]:
    """Within it, an answer that JetStream does not give is an error of NATS, after which workers ask again.

    Raises:
        nats.errors.Error: the answer can't be read.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise unreadable_answer(error) from None


@dataclass(frozen=True)
class Bus:
    """A connection to NATS with its JetStream context."""

    client: BusClient
    jetstream: JetStreamContext
    replicas: int = 1
    """Number of servers that store each stream, at least."""
    refusals: Refusals = field(default_factory=Refusals)

    def of_tenant(self, tenant: str | None) -> Bus:
        """Returns the JetStream of a tenant as the operator's account reaches it; None: that of this connection's account."""
        if tenant is None:
            return self
        reached = self.client.jetstream(prefix=api_prefix(tenant), timeout=API_TIMEOUT_SECONDS)
        return replace(self, jetstream=reached)

    async def ask(self, subject: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Returns JetStream's answer to a request of its API as it is: the library's classes leave out what they do not know.

        Args:
            subject: what follows the prefix of the API.
            body: of the request.

        Raises:
            nats.js.errors.APIError: JetStream refuses; `NotFoundError` if it does not know what was asked about.
        """
        context = self.jetstream
        call = context._api_request(  # noqa: SLF001 - the library has no other name for it
            f"{context._prefix}.{subject}",  # noqa: SLF001
            json.dumps(body).encode() if body else b"",
            timeout=API_TIMEOUT_SECONDS,
        )
        answer: object = await self.answer(call)
        if not isinstance(answer, dict):
            raise unreadable_answer()
        return answer

    async def answer(self, call: Coroutine[object, object, _T]) -> _T:
        """Returns NATS's answer to a call of `client` or `jetstream`.

        Raises:
            BusError: the user lacks the permission; otherwise the call would time out without a reason.
            nats.errors.Error: raised by the call itself, or the answer can't be read.
        """
        with readable():
            return await self.refusals.answer(call)


@asynccontextmanager
async def connect_bus(
    address: BusAddress, *, role: str, job: str = "", attempts: int = 3
) -> AsyncIterator[Bus]:
    """Connects to NATS, reconnects whenever the connection is lost, and closes at the end.

    Args:
        address: how to connect; a user in the URL takes precedence over the address's user.
        role: the part of VaultStream that connects; it uses that role's inbox, see `permissions`.
        job: the token of its job; NATS shows role and job as the connection's name.
        attempts: how often to try to make the first connection.

    Raises:
        BusError: NATS can't be reached or refuses the connection; the message says why.
        UsageError: the file of its key has none.
    """
    refusals = Refusals()
    client = await _connect(
        address, role, f"vaultstream-{role}" + (f"-{job}" if job else ""), attempts, refusals
    )
    try:
        yield Bus(client, client.jetstream(timeout=API_TIMEOUT_SECONDS), address.replicas, refusals)
    finally:
        with suppress(*BUS_ERRORS):
            await asyncio.wait_for(_flush_and_close(client), timeout=3)
        if not client.is_closed:
            with suppress(*BUS_ERRORS):
                await client.close()


async def _flush_and_close(client: BusClient) -> None:
    if client.is_connected:
        await client.flush(timeout=2)  # the last acknowledgements
    await client.close()


async def _connect(address: BusAddress, role: str, name: str, attempts: int, refusals: Refusals) -> BusClient:
    failures: list[Exception] = []
    refused = False

    async def on_error(error: Exception) -> None:
        nonlocal refused
        log.debug("nats: %s", shown(error))
        if refusal := explain_refusal(address.user_name, error):
            refusals.note(refusal)
        elif not client.established:
            failures.append(error)
        elif not refused and (_is_refusal(error) or isinstance(error, UnusableLoginError)):
            refused = True
            explained = _explain([error], now)
            log.warning("%s Trying again.", explained.message, extra={"hint": explained.hint})

    async def on_disconnect() -> None:
        log.info("disconnected from NATS")

    async def on_reconnect() -> None:
        nonlocal refused
        refused = False
        log.info("reconnected to NATS")

    now = address.current()
    if now.files.folder is None:  # files in a folder of Kubernetes may be changing, and are read again
        login_key(now)
    tls = tls_context(now.ca_file, now.cert_file, now.key_file) if now.encrypted else None
    client = BusClient(address)
    try:
        await client.connect(
            now.urls,
            name=name,
            tls=tls,
            inbox_prefix=inbox_prefix(role),
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            max_reconnect_attempts=attempts,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
        )
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        await client.close()
        raise _explain(failures or [error], now) from None
    client.established = True
    client.options["max_reconnect_attempts"] = -1  # after the first connection, reconnect forever
    return client


def _is_refusal(error: Exception) -> bool:
    return "authorization" in f"{type(error).__name__} {error}".lower()


def _explain(errors: list[Exception], address: BusAddress) -> BusError:
    """Returns the error to show; a refusal takes precedence over the disconnect that follows it."""
    if any(_is_refusal(error) for error in errors):
        return _explain_login(address)
    for error in errors:
        if told := _explain_one(_cause(error)):
            return told
    return BusError(
        f"NATS does not answer: {_reason(_cause(errors[-1]))} ({address.servers}).",
        hint=f"Check VAULTSTREAM_NATS_URL and that NATS is running with JetStream; {DOCTOR}",
    )


def _explain_one(error: Exception) -> BusError | None:
    if isinstance(error, UnusableLoginError):
        return BusError(str(error), hint=error.hint)
    if isinstance(error, nats.errors.SecureConnWantedError) or "WRONG_VERSION_NUMBER" in str(error):
        return BusError(
            "NATS does not offer TLS, which this connection requires.",
            hint="Turn on TLS in nats-server; or connect without TLS: use a URL that begins with nats:// or ws://, and "
            "unset VAULTSTREAM_NATS_CA_FILE and VAULTSTREAM_NATS_CERT_FILE.",
        )
    if why := explain_own_certificate(error):
        return BusError(
            f"NATS {why}.",
            hint="Set VAULTSTREAM_NATS_CERT_FILE and VAULTSTREAM_NATS_KEY_FILE to a certificate that an authority of the server "
            "has issued for its clients, and its private key.",
        )
    if why := explain_tls(error):
        return BusError(
            f"NATS can't be trusted: {why}.",
            hint="Set VAULTSTREAM_NATS_CA_FILE to the certificate of the authority that signed the server's certificate, "
            "and VAULTSTREAM_NATS_URL to a host name in the server's certificate.",
        )
    if "connections exceeded" in str(error):
        return BusError(
            f"NATS takes no more connections: {str(error).removeprefix('nats: ')}.",
            hint="Raise max_connections of nats-server or of the account: each worker and each command has a connection.",
        )
    return None


def _explain_login(address: BusAddress) -> BusError:
    if address.creds or address.nkey:
        what = "credentials" if address.creds else "nkey"
        return BusError(
            f"NATS refuses the {what}.",
            hint=f"Correct VAULTSTREAM_NATS_{'CREDS' if address.creds else 'NKEY'}_FILE: the account of this server must know its user, and "
            "the user must be neither expired nor revoked.",
        )
    user, password = "VAULTSTREAM_NATS_USER", "VAULTSTREAM_NATS_PASSWORD"
    return BusError(
        "NATS refuses the user or the password.",
        hint=where_to_correct(
            user, password, otherwise=f"Correct {user} and {password}, or the login in VAULTSTREAM_NATS_URL."
        ),
    )


def _cause(error: Exception) -> Exception:
    """Returns the error of TLS or of the system in an error of the library for WebSockets."""
    for name in ("certificate_error", "os_error"):
        if isinstance(inner := getattr(error, name, None), Exception):
            return inner
    return error


def _reason(error: Exception) -> str:
    if type(error).__module__.startswith("aiohttp"):
        return "what is there has no WebSockets; nats-server has them at a port of their own"
    if "expecting INFO" in str(error) or "info message" in str(error):
        return "what is there does not greet as NATS does"
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {CONNECT_TIMEOUT_SECONDS} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shown(error)
