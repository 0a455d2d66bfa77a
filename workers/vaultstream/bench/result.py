"""What a benchmark is asked to measure, and its result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vaultstream.api import Algorithm, SigningJobSpec
from vaultstream.audit.report import AuditReport
from vaultstream.bench.costs import Part
from vaultstream.bench.limit import BenchLimit, Rate, mean
from vaultstream.bench.traffic import Traffic


@dataclass(frozen=True)
class Wanted:
    """A job to measure.

    Attributes:
        signers: signing processes, from the job's start to its end.
        concurrency: batches that a signer has in flight at a time; None: the default of a job.
    """

    records: int
    keys: int
    batch_size: int
    signers: int
    algorithm: Algorithm = Algorithm.ECDSA_P256_SHA256
    payload_bytes: int = 256
    concurrency: int | None = None

    def spec(self, table: str) -> SigningJobSpec:
        """Returns the job's spec."""
        return SigningJobSpec.model_validate(
            {
                "records": {"table": table},
                "batchSize": self.batch_size,
                "keys": {"count": self.keys, "algorithm": self.algorithm},
                "signer": {} if self.concurrency is None else {"concurrency": self.concurrency},
            }
        )


@dataclass(frozen=True)
class Result:
    """The result of one benchmark.

    Attributes:
        seconds: from the moment when the records worker may begin to plan, with all keys generated and all signers
            waiting for batches, to the end of the job; both by the clock of Postgres.
        startup_seconds: time before that, to start workers and generate keys.
        signing_path: what signed: multibuffer or cryptography.
        limits: the limit, measured right before and right after the job.
        floor: what signing and copying the same rows reaches, with nothing else; measured after the job.
        cpu_seconds: CPU seconds of each part while the job ran, without those of measuring it.
        peak_memory: peak resident memory in bytes, by process, from four samples per second.
        verification: the job's verification, after the job.
    """

    wanted: Wanted
    cores: int
    seconds: float
    startup_seconds: float
    signing_path: str
    limits: tuple[BenchLimit, BenchLimit]
    floor: Rate
    cpu_seconds: dict[Part, float]
    peak_memory: dict[str, int]
    traffic: Traffic
    verification: AuditReport

    @property
    def records_per_second(self) -> float:
        return self.wanted.records / self.seconds

    @property
    def limit(self) -> BenchLimit:
        return mean(self.limits)

    @property
    def share_of_limit(self) -> float:
        """The job's rate as a fraction of the limit."""
        return self.records_per_second / self.limit.rate.per_second

    @property
    def share_by_cpu(self) -> float | None:
        """The CPU time per signature as a fraction of the CPU time per record, over all parts of the system.

        It is the share of the limit that an otherwise idle machine could reach; on a busy machine it says more than the
        wall clock. None if a service runs elsewhere, where its CPU time can't be measured.
        """
        return self._by_cpu(self.limit.rate)

    @property
    def share_of_floor(self) -> float:
        """The job's rate as a fraction of that of the floor."""
        return self.records_per_second / self.floor.per_second

    @property
    def share_of_floor_by_cpu(self) -> float | None:
        """The CPU time per row of the floor as a fraction of the CPU time per record; None as for `share_by_cpu`."""
        return self._by_cpu(self.floor)

    def _by_cpu(self, rate: Rate) -> float | None:
        if not {Part.POSTGRES, Part.NATS} <= self.cpu_seconds.keys():
            return None
        return rate.cpu_seconds * self.wanted.records / sum(self.cpu_seconds.values())

    def to_json(self) -> dict[str, Any]:
        """Returns the result as JSON-ready values; rates in records or signatures per second, times in seconds."""
        records, limit = self.wanted.records, self.limit
        return {
            **asdict(self.wanted),
            "cores": self.cores,
            "signing_path": self.signing_path,
            "batches": self.traffic.batches,
            "seconds": round(self.seconds, 4),
            "startup_seconds": round(self.startup_seconds, 4),
            "records_per_second": round(self.records_per_second, 1),
            "share_of_limit": round(self.share_of_limit, 4),
            "share_by_cpu": _rounded(self.share_by_cpu),
            "limit": {
                "measured_by": "library" if limit.openssl is None else "openssl",
                "openssl": [_rate(each.openssl) for each in self.limits],
                "library": [_rate(each.library) for each in self.limits],
            },
            "floor": _rate(self.floor),
            "share_of_floor": round(self.share_of_floor, 4),
            "share_of_floor_by_cpu": _rounded(self.share_of_floor_by_cpu),
            "cpu_seconds": {part.value: round(seconds, 3) for part, seconds in self.cpu_seconds.items()},
            "cpu_microseconds_per_record": {
                part.value: round(seconds / records * 1e6, 2) for part, seconds in self.cpu_seconds.items()
            },
            "messages_per_batch": _rounded(self.traffic.per_batch(self.traffic.messages)),
            "transactions_per_batch": _rounded(self.traffic.per_batch(self.traffic.transactions)),
            "peak_memory_bytes": self.peak_memory,
            "verification": self.verification.to_json(),
        }


def _rate(rate: Rate | None) -> dict[str, float] | None:
    if rate is None:
        return None
    return {
        "per_second": round(rate.per_second, 1),
        "cpu_microseconds": round(rate.cpu_seconds * 1e6, 2),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
