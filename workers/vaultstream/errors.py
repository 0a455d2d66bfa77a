"""Every error that VaultStream raises on purpose, as a tree.

VaultStreamError
├── UsageError                 the user's input can't be used                         exit 2
│   ├── InvalidJobError        the YAML of a SigningJob, or one of its fields
│   ├── SourceError            the table, view or columns of a job
│   │   └── SourceReadError    a read of it failed, as code of its owner may have chosen
│   ├── ImportFileError        a file that can't be imported
│   ├── UnknownJobError        there is no job with that name
│   └── NoDatabaseError        there is no database of VaultStream where the command looks for one
├── NotAllSignedError          the job ended with dead letters                        exit 3
├── AuditError                 verification found a violation                         exit 4
│   └── ProofError             a note, a proof or a key of one is malformed, or not signed as it must be
├── ServiceError               a service that VaultStream needs is unreachable        exit 5
│   ├── DatabaseError
│   ├── BusError
│   ├── SchemaVersionError     the version of the database's schema is not supported
│   ├── WitnessError           a witness of the log has not cosigned its checkpoint
│   ├── TimestampError         there is no valid timestamp of a checkpoint
│   └── LocalServiceError      an embedded Postgres or NATS does not start
├── CustodyError               a private key can't be unwrapped, or its KEK is missing exit 6
│   └── RevokedKeyError        the file of revocations has the key, Postgres has not
├── OutputError                the disk of an output is full, or fails                exit 1
└── LeaseLostError             the lease expired or was fenced: the batch is dropped
Interrupted                    Ctrl-C or SIGTERM: drained, can be resumed             exit 130

Each has a message of one sentence, for people, and a `hint` with the next step if there is one. No message contains a
secret: `redact` removes passwords from connection strings.
"""

from __future__ import annotations

import errno
import re
from enum import IntEnum

DOCTOR = "`vaultstream doctor` diagnoses the problem."
"""Ends a hint, after a semicolon. `vaultstream doctor` itself omits it."""

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_PASSWORD_IN_URL = re.compile(
    r"(?P<head>(?<![a-z0-9+.-])[a-z0-9+.-]+://[^\s:/@]{0,1000}):(?P<secret>[^\s@]{0,1000})@"
)
"""Linear in the length of the text, which may be long."""
_TOKEN_IN_URL = re.compile(r"(?P<head>\b(?:nats|tls|wss?)://)[^\s:/@]{1,1000}@", re.IGNORECASE)
"""A user alone in a URL of NATS: a token."""
_PASSWORD_IN_QUERY = re.compile(r"(?P<head>(?:password|passfile|sslpassword|token)=)[^\s&]*", re.IGNORECASE)


SHOWN_CHARACTERS = 500
"""How much is shown of the text of an error that somebody else wrote, such as Postgres or code that it runs."""
LONGEST_CHARACTERS = 20_000
"""How long the message or the hint of an error of ours can be."""


def shortened(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """Returns `text`, cut after `most` characters, which an ellipsis shows."""
    return text if len(text) <= most else f"{text[:most]}…"


def shown(error: BaseException) -> str:
    """Returns what an error of a service or a library says, in bounded length: Postgres passes on text of up to a gigabyte."""
    return shortened(str(error) or type(error).__name__)


def redact(text: str) -> str:
    """Returns `text` with every password and token of a connection string replaced by `***`."""
    text = _PASSWORD_IN_URL.sub(r"\g<head>:***@", text)
    text = _TOKEN_IN_URL.sub(r"\g<head>***@", text)
    return _PASSWORD_IN_QUERY.sub(r"\g<head>***", text)


class ExitCode(IntEnum):
    """Exit codes of the `vaultstream` command."""

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
        field: the field, setting or option that is wrong, if it is one.
    """

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str | None = None, field: str | None = None) -> None:
        self.field = field
        self.message = shortened(redact(message), LONGEST_CHARACTERS)
        self.hint = shortened(redact(hint), LONGEST_CHARACTERS) if hint else None
        super().__init__(self.message)


class ProcessError(VaultStreamError):
    """A process of ours can't be started.

    Args:
        what: the process, as the subject of a sentence.
        error: of the operating system.
    """

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(
            f"{what} can't be started: {error.strerror}.",
            hint="This user's limit of processes (ulimit -u) or of memory may be reached: end some, or start fewer.",
        )


class UsageError(VaultStreamError):
    exit_code = ExitCode.USAGE


class InvalidJobError(UsageError):
    pass


class MissingExtraError(UsageError):
    """Packages of an optional part of VaultStream are not installed.

    Args:
        what: needs them, as the subject of a sentence.
        packages: their names.
        extra: the part that installs them.
        otherwise: what to do instead, as the end of the hint.
    """

    def __init__(self, what: str, *packages: str, extra: str, otherwise: str = "") -> None:
        hint = f"Run: pip install 'vaultstream[{extra}]'{otherwise}"
        super().__init__(f"{what} needs {' and '.join(packages)}, not installed here.", hint=hint)


class SourceError(UsageError):
    pass


class SourceReadError(SourceError):
    """A read of a source failed. Code of its owner may have chosen the error, so it says nothing about Postgres.

    Args:
        message: see `VaultStreamError`.
        hint: see `VaultStreamError`.
        lost: whether the connection was lost, which can also be the end of Postgres.
    """

    def __init__(self, message: str, *, hint: str | None = None, lost: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.lost = lost


class ImportFileError(UsageError):
    pass


class UnknownJobError(UsageError):
    def __init__(self, name: str) -> None:
        super().__init__(f"There is no job named {name!r}.", hint="`vaultstream jobs` lists the jobs.")


class NoDatabaseError(UsageError):
    pass


class NotAllSignedError(VaultStreamError):
    exit_code = ExitCode.NOT_ALL_SIGNED


class AuditError(VaultStreamError):
    exit_code = ExitCode.AUDIT


class ProofError(AuditError):
    """A note, a checkpoint, a proof, or a key of one is malformed, or is not signed as it must be."""


class ServiceError(VaultStreamError):
    exit_code = ExitCode.SERVICE


class DatabaseError(ServiceError):
    pass


class LockedError(DatabaseError):
    """Another session holds a lock for too long. A later attempt can succeed."""


class BusError(ServiceError):
    pass


class SchemaVersionError(ServiceError):
    pass


class LocalServiceError(ServiceError):
    pass


class WitnessError(ServiceError):
    """A witness has not cosigned a checkpoint.

    Args:
        message: see `VaultStreamError`.
        refusal: why, in one word.
        hint: see `VaultStreamError`.
    """

    def __init__(self, message: str, refusal: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.refusal = refusal


class TimestampError(ServiceError):
    """There is no timestamp, or none that is valid."""


class CustodyError(VaultStreamError):
    exit_code = ExitCode.CUSTODY


class RevokedKeyError(CustodyError):
    pass


class SigningFaultError(VaultStreamError):
    """What signs computed something wrong, or failed: the processor, its memory or the library. No batch is at fault."""


class OutputError(VaultStreamError):
    pass


def explain_output(error: OSError, target: object) -> OutputError | None:
    """Explains why `target` could not be written, if its disk is full, read-only or failing.

    Returns:
        The error to raise; None if `error` has another cause.
    """
    if error.errno not in _DISK:
        return None
    return OutputError(
        f"{target} can't be written: {error.strerror}.",
        hint="Free some space there, or write to another location. The job lost no data.",
    )


_BEFORE_ITS_TIME, _PAST_ITS_TIME, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
"""OpenSSL's codes for a bad certificate. All other codes concern the authority that issued it."""


_ALERT = re.compile(
    r"_ALERT_((?:BAD|UNSUPPORTED)_CERTIFICATE|CERTIFICATE_(?:REQUIRED|REVOKED|EXPIRED|UNKNOWN)|UNKNOWN_CA|ACCESS_DENIED)"
)
"""What a server says of a client's certificate, at the end of OpenSSL's name for it."""


def explain_own_certificate(error: BaseException) -> str | None:
    """Explains that a server asks for a certificate of ours, or refuses it.

    Returns:
        A clause such as "asks for a client certificate"; None if `error` has another cause.
    """
    import ssl  # noqa: PLC0415 - a process that meets no such error starts without it

    found = (
        _ALERT.search(str(getattr(error, "reason", None) or "")) if isinstance(error, ssl.SSLError) else None
    )
    if found is None:
        return None
    if found[1] == "CERTIFICATE_REQUIRED":
        return "asks for a client certificate"
    return f"refuses the client certificate ({found[1].lower().replace('_', ' ')})"


def explain_tls(error: BaseException) -> str | None:
    """Explains a failure of TLS with a server.

    Returns:
        A clause such as "its certificate has expired"; None if `error` has another cause.
    """
    import ssl  # noqa: PLC0415 - a process that meets no such error starts without it

    if not isinstance(error, ssl.SSLError):
        return None
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS with it fails ({error.reason or shown(error)})"
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return f"its certificate is for another host ({error.verify_message.rstrip('.')})"
    if error.verify_code == _PAST_ITS_TIME:
        return "its certificate has expired"
    if error.verify_code == _BEFORE_ITS_TIME:
        return "its certificate is not valid yet, or the clock of this machine is wrong"
    return f"its certificate was issued by an unknown authority ({shortened(str(error.verify_message))})"


class LeaseLostError(VaultStreamError):
    pass


class Interrupted(VaultStreamError):  # noqa: N818 - not an error: the user asked for it
    exit_code = ExitCode.INTERRUPTED
