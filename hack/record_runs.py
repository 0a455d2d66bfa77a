"""Records runs on the node of `make kind-up`, fits the model of the simulation to half of them, and predicts the others.

    python hack/record_runs.py RUNS.jsonl [--only-fit] [--page]

Twelve jobs are applied one after the other: RSA, which is slow to sign, with 1 to 4 signers from the start, and three numbers of records, so many that
signing takes most of the time. Postgres says when batches were settled; what a watch of the job and one of its pods show is kept with this
process's own clock. Two signers keep both cores of the node busy, and then neither the watches nor the node's own daemons would run: as root, the
daemons come before the pods, and this process before both, which lasts until `make kind-down`. A recording that was broken off is continued. With `--only-fit`, nothing is recorded; with
`--page`, docs/simulation.md gets the table. The runs to which the model is fitted are the first, the third and so on, by a plan that was fixed beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import accumulate, product
from pathlib import Path
from threading import Thread
from typing import Any

from node import CACHE, CONTEXT, KUBECTL, ROOT, kubectl, prefer, write_between
from vaultstream.simulation.fitting import Fit, RecordedRun, fit

PAGE = ROOT / "docs/simulation.md"
BEGIN, END = "<!-- recorded runs -->", "<!-- end of recorded runs -->"

JOB, TABLE, IMPORT = "recorded", "recorded_{records}", "receipts-import"
SIZES, COUNTS, KEYS, BATCH_SIZE = (30_000, 60_000, 90_000), (1, 2, 3, 4), 12, 50
POSTGRES, SETTLED = "vaultstream-postgres-0", ROOT / "hack/settled_batches.sql"
LIMIT_SECONDS = 300.0
FIRST = -20
"""Niceness of this process."""
WITHIN, SECONDS = 0.10, 2.0
"""How close predictions are to be: shares of the makespan and of pod-seconds, and seconds until all signers are ready."""

Seen = tuple[float, str, dict[str, Any]]
"""When something changed, by the monotonic clock, how, and the object."""


def prefer_the_watches() -> None:
    """Gives the node's daemons precedence over its pods, those over other work on this machine, and this process over all."""
    os.setpriority(os.PRIO_PROCESS, 0, FIRST)
    prefer(lambda words, groups: str(CACHE).encode() in words and "kubepods" not in groups)


def objects(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Returns the changes of a watch, one per line."""
    for line in lines:
        found = json.loads(line)
        yield found["type"], found["object"]


def watch(into: list[Seen], *words: str) -> subprocess.Popen[str]:
    """Adds each change of objects to a list."""
    options = ("--watch", "--output-watch-events", "--output=json")
    running = subprocess.Popen(
        [KUBECTL, *CONTEXT, "get", *words, *options], stdout=subprocess.PIPE, text=True
    )

    def read() -> None:
        for kind, found in objects(iter(running.stdout or ())):
            into.append((time.monotonic(), kind, found))

    Thread(target=read, daemon=True).start()
    return running


def make_records(records: int) -> None:
    """Creates a table of so many records, again if it is there."""
    text = (ROOT / "hack/kube/demo-records.yaml").read_text(encoding="utf-8")
    name = f"{IMPORT}-{records}"
    text = text.replace(f"name: {IMPORT}", f"name: {name}").replace("200_001", f"{records + 1}")
    text = text.replace('"--table", "receipts"', f'"--table", "{TABLE.format(records=records)}"')
    kubectl("delete", "job", name, "--ignore-not-found")  # one of an earlier version can't be changed
    kubectl("apply", "--filename=-", stdin=text)
    kubectl("wait", "--for=condition=Complete", f"job/{name}", f"--timeout={LIMIT_SECONDS:g}s")


def manifest(signers: int, records: int) -> str:
    """Returns a job with so many signers from its start to its end."""
    spec = {
        "records": {"table": TABLE.format(records=records)},
        "batchSize": BATCH_SIZE,
        "keys": {"count": KEYS, "algorithm": "RSA_PSS_3072_SHA256"},
        "scaling": {"pollingInterval": 1, "minReplicaCount": signers, "maxReplicaCount": signers},
        "signer": {
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
        },
    }
    head = {"apiVersion": "vaultstream.dev/v1alpha1", "kind": "SigningJob", "metadata": {"name": JOB}}
    return json.dumps(head | {"spec": spec})


def record(signers: int, records: int) -> RecordedRun:
    """Runs a job, and returns what was seen of it."""
    selector = f"app.kubernetes.io/component=signing,vaultstream.dev/job={JOB}"
    kubectl("delete", "signingjob", JOB, "--ignore-not-found")
    kubectl("wait", "--for=delete", "pod", "--selector", selector, f"--timeout={LIMIT_SECONDS:g}s")
    job: list[Seen] = []
    pods: list[Seen] = []
    watches = [watch(job, "signingjobs"), watch(pods, "pods", "--selector", selector)]
    time.sleep(2.0)  # until both watch: what kubectl prints first is what was there before
    begun, since = time.monotonic(), time.time()
    kubectl("apply", "--filename=-", stdin=manifest(signers, records))
    try:
        while True:
            state = state_of(job)
            if state == "Failed" or time.monotonic() > begun + LIMIT_SECONDS:
                raise SystemExit(f"The job with {signers} signers and {records} records is {state}.")
            names = {pod["metadata"]["name"] for _, _, pod in pods}
            gone = {pod["metadata"]["name"] for _, kind, pod in pods if kind == "DELETED"}
            if state == "Complete" and names and names == gone:
                break
            time.sleep(0.2)
    finally:
        for each in watches:
            each.terminate()
            each.wait()
    return run_of(signers, records, (begun, since), job, pods, settled=settled_batches(since))


def settled_batches(since: float) -> tuple[tuple[float, int], ...]:
    """Returns when how many records were done by Postgres's clock, in seconds after a Unix time: it is late by a quarter of a second at most."""
    words = (
        "psql",
        "--dbname=vaultstream",
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        "--file=-",
    )
    printed = kubectl("exec", "--stdin", POSTGRES, "--", *words, stdin=SETTLED.read_text(encoding="utf-8"))
    rows = [line.split("|") for line in printed.split()]
    sums = accumulate(int(count) for _, count in rows)
    return tuple((round(float(at) - since, 2), done) for (at, _), done in zip(rows, sums, strict=True))


def state_of(job: list[Seen]) -> str | None:
    """Returns the latest state of the job."""
    states = [o.get("status", {}).get("state") for _, _, o in list(job) if o["metadata"]["name"] == JOB]
    return states[-1] if states else None


def run_of(
    signers: int,
    records: int,
    clocks: tuple[float, float],
    job: list[Seen],
    pods: list[Seen],
    *,
    settled: tuple[tuple[float, int], ...],
) -> RecordedRun:
    """Returns the run that was seen. `clocks`: the monotonic clock and Unix time when the job was applied."""
    begun, since = clocks
    own = [
        (at - begun, found.get("status") or {}) for at, _, found in job if found["metadata"]["name"] == JOB
    ]
    asked: dict[str, float] = {}
    placed: dict[str, float] = {}
    ready: dict[str, float] = {}
    gone: dict[str, float] = {}
    for at, kind, pod in pods:
        name = pod["metadata"]["name"]
        conditions = pod.get("status", {}).get("conditions", [])
        true = {one["type"]: one["lastTransitionTime"] for one in conditions if one["status"] == "True"}
        asked.setdefault(name, at - begun)
        if "PodScheduled" in true:
            placed.setdefault(name, at - begun)
        if "Ready" in true:
            ready.setdefault(name, min(at - begun, end_of(true["Ready"]) - since))
        if kind == "DELETED":
            gone.setdefault(name, at - begun)
    starts = tuple(round(at - asked[name], 2) for name, at in ready.items())
    times = sorted(ready.values())
    return RecordedRun(
        signers=signers,
        records=records,
        batch_size=BATCH_SIZE,
        keys=KEYS,
        starts=starts,
        settled=settled,
        ready=round(times[signers - 1] if len(times) >= signers else completed_at(own), 2),
        makespan=round(completed_at(own), 2),
        pod_seconds=round(sum(gone[name] - at for name, at in placed.items()), 2),
    )


def end_of(second: str) -> float:
    """Returns the Unix time at which a second of Kubernetes ends: what it says of that second was so by then, however late it was read."""
    return datetime.fromisoformat(second).timestamp() + 1


def completed_at(own: list[tuple[float, dict[str, Any]]]) -> float:
    """Returns when the job was first seen as complete."""
    return next(at for at, status in own if status.get("state") == "Complete")


def rate_of(run: RecordedRun) -> str:
    """Returns the rate of a run for people."""
    return f"{run.rate:.0f} records/s" if run.rate else "too few readings for a rate"


def plan() -> list[tuple[int, int]]:
    """Returns the signers and records of each run: both halves, the even and the odd ones, have each number of signers."""
    halves: tuple[list[tuple[int, int]], ...] = ([], [])
    for (number, size), (order, count) in product(enumerate(SIZES), enumerate(COUNTS)):
        halves[(number + order) % 2].append((count, size))
    return [pair for both in zip(*halves, strict=True) for pair in both]


def table(fitted: Fit, others: list[RecordedRun]) -> str:
    """Returns what was predicted beside what was recorded, as a table, and whether all is as close as it should be."""
    rows, misses = [], []
    for run in others:
        told = fitted.predicted(run)
        misses.append(
            (
                told.makespan / run.makespan - 1,
                told.pod_seconds / run.pod_seconds - 1,
                told.ready - run.ready,
            )
        )
        rows.append(
            f"| {run.signers} | {run.records:,} | {told.makespan:.1f}, {run.makespan:.1f} | {told.pod_seconds:.0f}, {run.pod_seconds:.0f} "
            f"| {told.ready:.1f}, {run.ready:.1f} |"
        )
    worst = [max(abs(miss[number]) for miss in misses) for number in range(3)]
    good = max(worst[:2]) <= WITHIN and worst[2] <= SECONDS
    return (
        f"The model was fitted to half of the runs: {fitted.curve.formula}, starts of {fitted.start.alone:.1f} s and {fitted.start.each:.2f} s more for each other signer. Predicted and recorded, of the others:\n\n"
        "| Signers | Records | Makespan, s | Pod-seconds | All ready after, s |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + f"\n\nThe worst predictions are off by {100 * worst[0]:.0f} % of the makespan, {100 * worst[1]:.0f} % of the pod-seconds and {worst[2]:.1f} s: "
        + ("all within" if good else "**not** all within")
        + f" {100 * WITHIN:.0f} %, {100 * WITHIN:.0f} % and {SECONDS:g} s.\n"
    )


def main() -> None:
    """Records what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--only-fit", action="store_true")
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    file: Path = arguments.file
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    runs = [RecordedRun.read(json.loads(line)) for line in lines]
    if not arguments.only_fit:
        if os.geteuid() == 0:
            prefer_the_watches()
        for size in SIZES:
            make_records(size)
        for signers, records in plan()[len(runs) :]:
            runs.append(record(signers, records))
            with file.open("a", encoding="utf-8") as target:
                target.write(json.dumps(runs[-1].dump()) + "\n")
            sys.stdout.write(
                f"{len(runs)}: {signers} signers, {records:,} records, {runs[-1].makespan:.1f} s, {rate_of(runs[-1])}\n"
            )
            sys.stdout.flush()
        kubectl("delete", "signingjob", JOB, "--ignore-not-found")
    text = table(fit(runs[::2]), runs[1::2])
    sys.stdout.write(text)
    if arguments.page:
        write_between(PAGE, BEGIN, text, END)


if __name__ == "__main__":
    main()
