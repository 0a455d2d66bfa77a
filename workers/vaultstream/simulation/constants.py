"""All constants of the model, each with its unit and its source. docs/simulation.md has the same table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Constant:
    """A number of the model.

    Attributes:
        value: the number.
        unit: what it counts.
        source: where it comes from.
    """

    value: float
    unit: str
    source: str


PLANNED_PAGE: Final = Constant(50_000, "records", "`PAGE_RECORDS` of store/batches.py")
OUTSTANDING_BATCHES: Final = Constant(4096, "batches", "`VAULTSTREAM_MAX_OUTSTANDING`")
PLANNING_RATE: Final = Constant(250_000, "records/s", "records worker on two cores, docs/performance.md")
PLANNER_START: Final = Constant(3.0, "s", "records worker's pod on the test node, from request to first page")
KEYS_RATE: Final = Constant(2_000, "keys/s", "keys worker on two cores, P-256")
POD_START: Final = Constant(8.0, "s", "pod on the test node, from request to first batch, median")
POD_START_SPREAD: Final = Constant(0.25, "1", "standard deviation of the logarithm of a start")
READINESS_PERIOD: Final = Constant(
    5.0, "s", "assumed: a signer is seen Ready up to so much after its first batch, on the test node at once"
)
PRE_STOP: Final = Constant(5.0, "s", "`VAULTSTREAM_WORKER_PRE_STOP_SECONDS`")
GRACE: Final = Constant(60.0, "s", "`VAULTSTREAM_WORKER_GRACE_SECONDS`")
PROVISIONING: Final = Constant(
    90.0, "s", "a new node, from a Pending pod to Ready; typical of cloud providers"
)
RECLAIM: Final = Constant(600.0, "s", "`--scale-down-unneeded-time` of the Cluster Autoscaler")
SIGNER_RATE: Final = Constant(57_000, "records/s", "one signer on the test node of two cores, batches of 500")
CONTENTION: Final = Constant(
    0.53, "1", "fitted to 57,000, 74,000 and 43,000 records/s of 1, 3 and 20 signers there"
)
COHERENCE: Final = Constant(0.04, "1", "the same fit")
RATE_NOISE: Final = Constant(0.1, "1", "standard deviation of the logarithm of the rate, assumed")
MOST_SIGNERS: Final = Constant(100, "signers", "`maxReplicaCount` on Kubernetes if it is not set")
LINGERING: Final = Constant(
    900.0, "s", "how long a rival may keep signers after the end: cooldown and windows of KEDA"
)
NOISE_PERIOD: Final = Constant(1.0, "s", "how long a disturbance of the rate lasts in the model")

CONSTANTS: Final[Mapping[str, Constant]] = {
    name: one for name, one in list(globals().items()) if isinstance(one, Constant)
}
"""From a constant's name to the constant."""
