"""Records runs on the node of `make kind-up`, fits the model of the simulation to half of them, and predicts the others.

    python hack/record_runs.py RUNS.jsonl [--only-fit] [--page]

Twelve jobs are applied one after the other: RSA, which is slow to sign, with 1 to 4 signers from the start, and three numbers of records. What
a watch of the job and one of its pods show is kept with this process's own clock. A recording that was broken off is continued. With
`--only-fit`, nothing is recorded; with `--page`, docs/simulation.md gets the table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any

from vaultstream.simulation.fitting import Fit, RecordedRun, fit

ROOT = Path(__file__).parent.parent
CACHE = Path(os.environ.get("CLUSTER_CACHE") or Path.home() / ".cache/vaultstream-cluster")
STATE = Path(os.environ.get("CLUSTER_STATE") or "/var/lib/vaultstream-cluster")
KUBECTL = shutil.which("kubectl") or str(CACHE / "bin/kubectl")
CONTEXT = ["--kubeconfig", str(STATE / "control-plane/admin.kubeconfig"), "--namespace", "vaultstream"]
PAGE = ROOT / "docs/simulation.md"
BEGIN, END = "<!-- recorded runs -->", "<!-- end of recorded runs -->"

JOB, TABLE, IMPORT = "recorded", "recorded_{records}", "receipts-import"
SIZES, COUNTS, KEYS, BATCH_SIZE = (6_000, 12_000, 18_000), (1, 2, 3, 4), 12, 50
LIMIT_SECONDS = 300.0
WITHIN, SECONDS = 0.10, 2.0
"""How close predictions are to be: shares of the makespan and of pod-seconds, and seconds until all signers are ready."""

Seen = tuple[float, str, dict[str, Any]]
"""When something changed, by the monotonic clock, how, and the object."""


def kubectl(*words: str, stdin: str | None = None) -> str:
    """Runs kubectl in the trial's namespace; returns what it printed."""
    ran = subprocess.run(
        [KUBECTL, *CONTEXT, *words], input=stdin, stdout=subprocess.PIPE, text=True, check=True
    )
    return ran.stdout


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
    begun = time.monotonic()
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
    return run_of(signers, records, begun, job, pods)


def state_of(job: list[Seen]) -> str | None:
    """Returns the latest state of the job."""
    states = [o.get("status", {}).get("state") for _, _, o in list(job) if o["metadata"]["name"] == JOB]
    return states[-1] if states else None


def run_of(signers: int, records: int, begun: float, job: list[Seen], pods: list[Seen]) -> RecordedRun:
    """Returns the run that was seen."""
    own = [
        (at - begun, found.get("status") or {}) for at, _, found in job if found["metadata"]["name"] == JOB
    ]
    settled: list[tuple[float, int]] = []
    for at, status in own:
        done = int(status.get("signed") or 0)
        if not settled or done > settled[-1][1]:
            settled.append((round(at, 2), done))
    asked: dict[str, float] = {}
    placed: dict[str, float] = {}
    ready: dict[str, float] = {}
    gone: dict[str, float] = {}
    for at, kind, pod in pods:
        name = pod["metadata"]["name"]
        true = {one["type"] for one in pod.get("status", {}).get("conditions", []) if one["status"] == "True"}
        asked.setdefault(name, at - begun)
        if "PodScheduled" in true:
            placed.setdefault(name, at - begun)
        if "Ready" in true:
            ready.setdefault(name, at - begun)
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
        settled=tuple(settled),
        ready=round(times[signers - 1] if len(times) >= signers else completed_at(own), 2),
        makespan=round(completed_at(own), 2),
        pod_seconds=round(sum(gone[name] - at for name, at in placed.items()), 2),
    )


def completed_at(own: list[tuple[float, dict[str, Any]]]) -> float:
    """Returns when the job was first seen as complete."""
    return next(at for at, status in own if status.get("state") == "Complete")


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
        f"The model was fitted to half of the runs: {fitted.curve.formula}, starts of {fitted.start:.1f} s. Predicted and recorded, of the others:\n\n"
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
        for size in SIZES:
            make_records(size)
        for signers, records in plan()[len(runs) :]:
            runs.append(record(signers, records))
            with file.open("a", encoding="utf-8") as target:
                target.write(json.dumps(runs[-1].dump()) + "\n")
            sys.stdout.write(
                f"{len(runs)}: {signers} signers, {records:,} records, {runs[-1].makespan:.1f} s, {runs[-1].rate or 0:.0f} records/s\n"
            )
            sys.stdout.flush()
        kubectl("delete", "signingjob", JOB, "--ignore-not-found")
    text = table(fit(runs[::2]), runs[1::2])
    sys.stdout.write(text)
    if arguments.page:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(
            re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text}{END}", page, flags=re.DOTALL),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
