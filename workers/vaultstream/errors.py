"""Every error that VaultStream raises on purpose, as a tree.

VaultStreamError
├── UsageError                 what the user gave can't be used                       exit 2
│   ├── InvalidJobError        a SigningJob's YAML or a field of it
│   ├── SourceError            the table, view or column that a job names
│   ├── ImportFileError        a file that can't be imported
│   └── UnknownJobError        no job of that name
├── NotAllSignedError          the job ended, but with dead letters                   exit 3
├── AuditError                 verification found what must not be                    exit 4
├── ServiceError               a part that VaultStream needs does not answer          exit 5
│   ├── DatabaseError
│   ├── BusError
│   ├── SchemaVersionError     the database's schema is not this version's
│   └── LocalServiceError      an embedded Postgres or NATS that does not start
├── CustodyError               a private key can't be unwrapped, or its wrapping key is missing   exit 6
├── OutputError                its disk has no room for what is written, or fails   exit 1
└── LeaseLostError             the lease ran out or was fenced: the work in hand is dropped
Interrupted                    Ctrl-C or SIGTERM: drained, can be resumed             exit 130

Each carries a sentence for people and, where there is one, the next step to take (`hint`). No message holds a secret:
connection strings pass through `redact` first.
"""

from __future__ import annotations

import errno
import re
import ssl
from enum import IntEnum

DOCTOR = "`vaultstream doctor` looks closer."
"""Ends a hint, after a semicolon; doctor itself leaves it out."""

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_PASSWORD_IN_URL = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s:/@]*):(?P<secret>[^\s@]*)@")
_PASSWORD_IN_QUERY = re.compile(r"(?P<head>(?:password|passfile|sslpassword|token)=)[^\s&]*", re.IGNORECASE)


def redact(text: str) -> str:
    """Returns `text` with every password of a connection string replaced by `***`."""
    text = _PASSWORD_IN_URL.sub(r"\g<head>:***@", text)
    return _PASSWORD_IN_QUERY.sub(r"\g<head>***", text)


class ExitCode(IntEnum):
    """What the `vaultstream` command exits with."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_ALL_SIGNED = 3
    AUDIT = 4
    SERVICE = 5
    CUSTODY = 6
    INTERRUPTED = 130


class VaultStreamError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: one sentence that says what is wrong, for people.
        hint: the next step, if there is one.
    """

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = redact(message)
        self.hint = redact(hint) if hint else None
        super().__init__(self.message)


class UsageError(VaultStreamError):
    exit_code = ExitCode.USAGE


class InvalidJobError(UsageError):
    pass


class SourceError(UsageError):
    pass


class ImportFileError(UsageError):
    pass


class UnknownJobError(UsageError):
    def __init__(self, name: str) -> None:
        super().__init__(f"There is no job named {name!r}.", hint="`vaultstream jobs` lists the jobs.")


class NotAllSignedError(VaultStreamError):
    exit_code = ExitCode.NOT_ALL_SIGNED


class AuditError(VaultStreamError):
    exit_code = ExitCode.AUDIT


class ServiceError(VaultStreamError):
    exit_code = ExitCode.SERVICE


class DatabaseError(ServiceError):
    pass


class BusError(ServiceError):
    pass


class SchemaVersionError(ServiceError):
    pass


class LocalServiceError(ServiceError):
    pass


class CustodyError(VaultStreamError):
    exit_code = ExitCode.CUSTODY


class OutputError(VaultStreamError):
    pass


def explain_output(error: OSError, target: object) -> OutputError | None:
    """Returns what a person should read if `target` could not be written for its disk's sake; None: it's no such error."""
    if error.errno not in _DISK:
        return None
    return OutputError(
        f"{target} can't be written: {error.strerror}.",
        hint="Free some space there, or write to another place; nothing of the job is lost.",
    )


_BEFORE_ITS_TIME, _PAST_ITS_TIME, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
"""OpenSSL's codes of what may be wrong with a certificate; all others are about who signed it."""


def explain_tls(error: BaseException) -> str | None:
    """Returns what was wrong with a server's certificate, or with TLS to it, as a clause; None: it's no such error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
            return f"its certificate is for another host ({error.verify_message.rstrip('.')})"
        if error.verify_code == _PAST_ITS_TIME:
            return "its certificate has expired"
        if error.verify_code == _BEFORE_ITS_TIME:
            return "its certificate is not valid yet, or the clock here is wrong"
        return f"its certificate is from an authority that is not known here ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS with it fails ({error.reason or error})"
    return None


class LeaseLostError(VaultStreamError):
    pass


class Interrupted(VaultStreamError):  # noqa: N818 - not a fault: the user asked for it
    exit_code = ExitCode.INTERRUPTED
