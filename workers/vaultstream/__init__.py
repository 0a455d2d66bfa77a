"""VaultStream signs the records of a Postgres table in bulk: each exactly once, under a ring of leased keys.

This package is the engine. The names in `__all__` are its public interface; everything else, every module of
`vaultstream` included, is internal and may change in any release. The public names are loaded when they are first used,
so that `import vaultstream` stays cheap.

    import asyncio
    import vaultstream

    async def main() -> None:
        job = vaultstream.load_signing_job("job.yaml")
        async with vaultstream.open_engine() as engine:
            result = await engine.run(job)
            print(result.state, result.signed, result.dead)

    asyncio.run(main())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vaultstream.version import __version__

if TYPE_CHECKING:
    from vaultstream.api import (
        Algorithm,
        JobState,
        KeysSpec,
        RecordsSpec,
        SigningJob,
        SigningJobSpec,
    )
    from vaultstream.api.loader import load_signing_job, parse_signing_job
    from vaultstream.audit.exports.formats import ExportedSignature
    from vaultstream.audit.report import AuditReport
    from vaultstream.engine import Engine, JobResult, open_engine
    from vaultstream.errors import VaultStreamError
    from vaultstream.store.dead_letters import DeadLetter

__all__ = [
    "Algorithm",
    "AuditReport",
    "DeadLetter",
    "Engine",
    "ExportedSignature",
    "JobResult",
    "JobState",
    "KeysSpec",
    "RecordsSpec",
    "SigningJob",
    "SigningJobSpec",
    "VaultStreamError",
    "__version__",
    "load_signing_job",
    "open_engine",
    "parse_signing_job",
]

_MODULES = {
    "Algorithm": "vaultstream.api",
    "AuditReport": "vaultstream.audit.report",
    "DeadLetter": "vaultstream.store.dead_letters",
    "Engine": "vaultstream.engine",
    "ExportedSignature": "vaultstream.audit.exports.formats",
    "JobResult": "vaultstream.engine",
    "JobState": "vaultstream.api",
    "KeysSpec": "vaultstream.api",
    "RecordsSpec": "vaultstream.api",
    "SigningJob": "vaultstream.api",
    "SigningJobSpec": "vaultstream.api",
    "VaultStreamError": "vaultstream.errors",
    "load_signing_job": "vaultstream.api.loader",
    "open_engine": "vaultstream.engine",
    "parse_signing_job": "vaultstream.api.loader",
}

if not TYPE_CHECKING:  # type checkers read the imports above, and report a name that does not exist

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
