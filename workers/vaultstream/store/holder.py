"""Names of worker processes in Postgres: as holders of leases, and as connections."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from typing import Final

APPLICATION: Final = "vaultstream-"
"""What the name of each connection of ours begins with."""
HOST_CHARACTERS: Final = 24
"""How much of a host's name fits into the name of a connection, which Postgres cuts after 63 bytes."""

_SESSION = re.compile(
    APPLICATION + r"(?P<role>keys|records|signing) (?P<job_no>\d{1,10}) (?P<host>.*):(?P<pid>\d{1,10})",
    re.DOTALL,
)


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: a process on a host. The nonce distinguishes it from an earlier process with the same number."""

    host: str
    pid: int
    nonce: str

    @classmethod
    def of_this_process(cls) -> Holder:
        """Returns a holder for this process, different at each call."""
        return cls(socket.gethostname(), os.getpid(), secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """Returns the holder that `str` turned into this text; None: it is not the text of one."""
        host, pid, nonce = [*text.rsplit(":", 2), "", ""][:3]
        return cls(host, int(pid), nonce) if nonce and pid.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.nonce}"


@dataclass(frozen=True)
class SessionName:
    """Name of a worker's connections: what the worker does, for which job, and where it runs.

    Attributes:
        role: keys, records or signing.
        host: the first HOST_CHARACTERS of its host's name.
    """

    role: str
    job_no: int
    host: str
    pid: int

    @classmethod
    def of_this_process(cls, role: str, job_no: int) -> SessionName:
        return cls(role, job_no, socket.gethostname()[:HOST_CHARACTERS], os.getpid())

    @classmethod
    def parse(cls, application_name: str) -> SessionName | None:
        """Returns the worker that a connection's `application_name` stands for; None: it is not a worker's."""
        found = _SESSION.fullmatch(application_name)
        if found is None:
            return None
        return cls(found["role"], int(found["job_no"]), found["host"], int(found["pid"]))

    def __str__(self) -> str:
        """Returns the name without APPLICATION, which `vaultstream.store.database` puts before it."""
        return f"{self.role} {self.job_no} {self.host}:{self.pid}"

    def is_holder(self, holder: str) -> bool:
        """Whether a lease names this process as its holder."""
        held = Holder.parse(holder)
        return held is not None and (held.host[:HOST_CHARACTERS], held.pid) == (self.host, self.pid)
