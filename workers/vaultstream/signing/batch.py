"""A batch in flight: one value, from its delivery to its settlement."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from vaultstream.store.leases import BatchRow, Lease, SignedBatch


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a batch leaves a signer. `vaultstream.signing.hold` carries it out, once per batch.

    Attributes:
        outcome: what the batch is counted as, one of `vaultstream.telemetry.metrics.BATCH_OUTCOMES`.
        redeliver_after: seconds until the queue delivers the batch again (nak); None: it is acknowledged.
        lease_ended: whether Postgres has ended the batch's lease already, as a commit does; if not, it is released.
    """

    outcome: str
    redeliver_after: float | None = None
    lease_ended: bool = False


@dataclass(eq=False, slots=True)
class Batch:
    """One delivery of one batch. Each step of the pipeline adds its part; to read a part before is an AttributeError.

    Attributes:
        number: which batch of the job.
        message: the delivery, to be acknowledged or returned.
        fetched_at: when it came, in seconds of `time.perf_counter`.
        row: the records that it covers; from step 2, lease.
        lease: the lease on its key; from step 2, lease, once a key is free.
        alone: whether it is to be signed while nothing else is in flight, because it lost signers before.
        signed: digests and signatures, as rows; from step 4, sign, which adds them part by part.
        settlement: how it left; None as long as it is in flight.
    """

    number: int
    message: Msg
    fetched_at: float = field(default_factory=time.perf_counter)
    row: BatchRow = field(init=False)
    lease: Lease = field(init=False)
    alone: bool = field(default=False, init=False)
    signed: SignedBatch = field(init=False)
    settlement: Settlement | None = field(default=None, init=False)

    @property
    def leased(self) -> bool:
        """Whether a key was leased for it."""
        return hasattr(self, "lease")
