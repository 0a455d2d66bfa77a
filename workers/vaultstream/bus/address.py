"""How to connect to NATS. It loads nothing of the client: most commands name NATS to others and never connect."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from vaultstream.credentials import (
    CERTIFICATE,
    CERTIFICATE_KEY,
    NATS_CREDS,
    NATS_NKEY,
    NATS_PASSWORD,
    NATS_URL,
    NATS_USER,
    NO_FILES,
    CredentialFiles,
)
from vaultstream.errors import UsageError
from vaultstream.url_passwords import require_escaped

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.settings import Settings


_SCHEMES = {"nats", "tls", "ws", "wss"}
_FORM = (
    "Use the form nats://HOST:4222 (or tls://, ws://, wss://), with commas between several; an IPv6 address stands in brackets, and "
    "a comma in a password is written %2C."
)


@dataclass(frozen=True)
class BusLogin:
    """Who logs in to a server: a user with a password, or a token."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class BusAddress:
    """How to connect to NATS: URL, user, certificates, and the replicas of our streams.

    With a `ca_file`, a `cert_file` or URLs that begin with `tls://`, TLS is used and the server is verified.

    Raises:
        UsageError: some URLs begin with `tls://` and some don't, one can't be read, or there is none.
    """

    url: str
    """URL of a server, or comma-separated URLs of several servers of one cluster: any of them will do, each with its own login."""
    user: str
    password: str = field(repr=False)
    ca_file: Path | None = None
    """Certificate of the authority that signed the server's; None: the authorities that the system trusts."""
    cert_file: Path | None = None
    """Our own certificate, if the server requires one."""
    key_file: Path | None = None
    replicas: int = 1
    """Number of servers that store each stream, at least."""
    files: CredentialFiles = NO_FILES
    """Where the URL, the login and the certificate are read from at each connect."""
    creds: str = field(default="", repr=False)
    """Text of a file of credentials, which takes precedence over user and password."""
    nkey: str = field(default="", repr=False)
    """Seed of an nkey, which takes precedence over user and password."""
    creds_file: Path | None = None
    """File of credentials (`.creds`), read at each connect."""
    nkey_file: Path | None = None
    """File with the seed of an nkey, read at each connect."""

    def __post_init__(self) -> None:
        if not self.urls:
            raise UsageError("VAULTSTREAM_NATS_URL names no server.", hint="Set it to nats://HOST:4222.")
        for url in self.urls:
            require_escaped(url, "VAULTSTREAM_NATS_URL")
            _require_readable(url)
        if len(set(self._secure)) > 1:
            raise UsageError(
                "VAULTSTREAM_NATS_URL names servers with TLS and servers without.",
                hint="Let all of its URLs begin with tls://, or all with nats://.",
            )
        if len({urlsplit(url).scheme in {"ws", "wss"} for url in self.urls}) > 1:
            raise UsageError("VAULTSTREAM_NATS_URL names servers with WebSockets and servers without.")
        if self.encrypted and any(urlsplit(url).scheme == "ws" for url in self.urls):
            raise UsageError(
                "VAULTSTREAM_NATS_URL begins with ws://, and certificates are set.",
                hint="Let its URLs begin with wss://, which is encrypted.",
            )

    @property
    def _secure(self) -> list[bool]:
        return [urlsplit(url).scheme in {"tls", "wss"} for url in self.urls]

    @property
    def urls(self) -> list[str]:
        """The URLs, as the client takes them: with a scheme in lowercase."""
        return [_with_scheme(url.strip()) for url in self.url.split(",") if url.strip()]

    @property
    def servers(self) -> str:
        """Where the servers are, for messages."""
        return ", ".join(url.partition("://")[2].rpartition("@")[2] for url in self.urls)

    @property
    def encrypted(self) -> bool:
        return self.ca_file is not None or self.cert_file is not None or all(self._secure)

    def current(self) -> BusAddress:
        """Returns the address as the files have it now."""
        files = self.files
        if files.folder is None:
            return replace(
                self,
                creds=_text(self.creds_file, "VAULTSTREAM_NATS_CREDS_FILE") or self.creds,
                nkey=_text(self.nkey_file, "VAULTSTREAM_NATS_NKEY_FILE") or self.nkey,
            )
        certificate = files.path(CERTIFICATE)
        return replace(
            self,
            url=files.text(NATS_URL, self.url),
            user=files.text(NATS_USER, self.user),
            password=files.text(NATS_PASSWORD, self.password),
            cert_file=self.cert_file or certificate,
            key_file=self.key_file or (files.path(CERTIFICATE_KEY) if certificate else None),
            creds=files.text(NATS_CREDS) or _text(self.creds_file, "VAULTSTREAM_NATS_CREDS_FILE"),
            nkey=files.text(NATS_NKEY) or _text(self.nkey_file, "VAULTSTREAM_NATS_NKEY_FILE"),
        )

    def login(self, host: str | None, port: int | None) -> BusLogin:
        """Returns the login for a server: that of its own URL, else of another URL, else of the settings.

        Args:
            host: of the server; the cluster may have told us of one that no URL names.
            port: its port; None: that of its scheme.
        """
        named = [server for url in self.urls if (server := urlsplit(url)).username is not None]
        own = [server for server in named if server.hostname == host and port in {server.port, _port(server)}]
        for server in own or named:
            user, password = unquote(server.username or ""), server.password
            if password is not None:
                return BusLogin(user, unquote(password))
            return BusLogin(user, self.password) if self.password else BusLogin(token=user)
        return BusLogin(self.user, self.password)

    @property
    def user_name(self) -> str:
        """The user's name, for messages: never a token, which is a secret."""
        first = urlsplit(self.urls[0])
        login = self.login(first.hostname, _port(first))
        return "(a token)" if login.user is None else login.user


def _port(server: SplitResult) -> int | None:
    return server.port or {"ws": 80, "wss": 443}.get(server.scheme, 4222)


def _with_scheme(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}://{rest}" if separator else f"nats://{url}"


def _require_readable(url: str) -> None:
    try:
        server = urlsplit(url)
        readable = bool(server.hostname) and server.port != 0 and not re.search(r"[\s\"'<>]", server.netloc)
    except ValueError:
        readable = False
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES and scheme.isalpha():
        raise UsageError(f"VAULTSTREAM_NATS_URL begins with {scheme}://, which is not of NATS.", hint=_FORM)
    if not readable or scheme not in _SCHEMES:
        raise UsageError("VAULTSTREAM_NATS_URL has a malformed host or port.", hint=_FORM)


def _text(file: Path | None, variable: str) -> str:
    try:
        return file.read_text("utf-8").strip() if file else ""
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{variable}: the file {file} can't be read: {why}.") from None


def bus_address(settings: Settings, url: str) -> BusAddress:
    """Returns the address of an external NATS at `url`, with the user and certificates of the settings.

    Raises:
        UsageError: a URL or a setting can't be used; the message has its name.
    """
    if settings.nats_key_file and not settings.nats_cert_file and not settings.credentials_dir:
        raise UsageError(
            "VAULTSTREAM_NATS_KEY_FILE is set, and VAULTSTREAM_NATS_CERT_FILE is not.",
            hint="Set VAULTSTREAM_NATS_CERT_FILE to the certificate of this key.",
        )
    return BusAddress(
        url,
        settings.nats_user,
        settings.nats_password.get_secret_value() if settings.nats_password else "",
        ca_file=settings.nats_ca_file,
        cert_file=settings.nats_cert_file,
        key_file=settings.nats_key_file,
        replicas=settings.nats_replicas,
        files=CredentialFiles(settings.credentials_dir),
        creds_file=settings.nats_creds_file,
        nkey_file=settings.nats_nkey_file,
    )
