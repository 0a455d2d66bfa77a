"""Measures what the statements of batches cost a signer, beside signing their records.

    python hack/statement_costs.py [--rounds N]

In turns, the same groups of batches are signed with statements and without. Prints the processor time of the signing thread per
record, as medians over all rounds. What Postgres does for statements, `hack/commit_costs.py unstated` measures.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any, cast

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vaultstream.api import Algorithm
from vaultstream.crypto.batch_signer import any_begins, batch_signer
from vaultstream.crypto.rows import Rows
from vaultstream.proof.statement import RESERVED_PREFIX
from vaultstream.signing.batch import Batch
from vaultstream.signing.read import BatchRecords
from vaultstream.signing.sign import sign
from vaultstream.signing.state import state
from vaultstream.store.leases import DatabaseClock, Lease, SignedBatch, lease_clock

if TYPE_CHECKING:
    from collections.abc import Callable

GROUPS = ((50, 40), (1000, 2), (5000, 1))
"""Batch sizes, and how many batches are signed together."""
PAYLOAD_BYTES = 256


def used(call: Callable[[], object]) -> int:
    """Returns the processor time of a call in this thread, in nanoseconds."""
    start = time.thread_time_ns()
    call()
    return time.thread_time_ns() - start


def leased(number: int, width: int) -> Batch:
    lease = Lease(
        key_no=number,
        key_id=f"job-00000000-{number}",
        epoch=1,
        deadline=lease_clock() + 3600,
        holder="signer-0",
        clock=DatabaseClock(datetime.now(UTC), lease_clock()),
    )
    batch = Batch(number, cast("Any", None))
    batch.lease = lease
    batch.signed = SignedBatch(number, lease, [], Rows(width))
    return batch


def measure(size: int, together: int, rounds: int) -> None:
    signer = batch_signer(Algorithm.ECDSA_P256_SHA256)
    opened = []
    for _ in range(together):
        private = generate_private_key(SECP256R1())
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        opened.append(signer.open(private, der))
    payloads = [os.urandom(PAYLOAD_BYTES) for _ in range(size)]
    costs: dict[str, list[int]] = {"sign": [], "state": [], "reserved": []}
    for _ in range(rounds + 2):
        batches = [leased(number, signer.width) for number in range(together)]
        keys = dict(zip(batches, opened, strict=True))
        records = {
            batch: BatchRecords(range(batch.number * size, (batch.number + 1) * size), payloads, [])
            for batch in batches
        }
        costs["sign"].append(used(lambda: sign(records, keys, signer)))  # noqa: B023 - called at once
        costs["state"].append(
            used(lambda: state(batches, keys, signer, job_token="job-00000000", algorithm="P256"))  # noqa: B023, S106
        )
        costs["reserved"].append(
            used(lambda: [any_begins(payloads, RESERVED_PREFIX) for _ in range(together)])
        )
    found = {part: median(each[2:]) / 1000 / size / together for part, each in costs.items()}
    sys.stdout.write(
        f"{size:6} records, {together:2} batches together: signed in {found['sign']:.2f} µs per record, of which reserved "
        f"payloads are looked for in {found['reserved']:.3f}; stated in {found['state']:.3f}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    for shape in GROUPS:
        measure(*shape, given.rounds)
