"""Runs jobs on the node of `make kind-up`, scaled by VaultStream and by what tuned KEDA would decide, in turns.

    python hack/beside_keda.py RUNS.jsonl [--rounds N] [--only-page] [--page]

KEDA and its HPA are those of the simulation (`vaultstream.simulation.rivals.keda`), with their fastest clocks and without windows, on this
process's clock. They read the lag where KEDA's scaler reads it, at the monitoring port of NATS, and set the count by the annotation
`vaultstream.dev/paused-replicas`. So both have the same signers, keys and services, and only what decides differs. When a job is
complete, its signers end, which spares KEDA its cooldown. As root, daemons and pods keep other weights until `make kind-down`. A recording that was broken off is continued; with `--page`,
docs/simulation.md gets the table, and docs/images/node a picture for each scenario.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from node import ROOT, kubectl, write_between
from record_runs import (
    LIMIT_SECONDS,
    PAGE,
    TABLE,
    Seen,
    make_records,
    prefer_the_watches,
    state_of,
    watch,
)
from vaultstream.scaling.observation import Lag
from vaultstream.scaling.workload import Counts
from vaultstream.simulation.chart import svg_chart
from vaultstream.simulation.plant import Sight
from vaultstream.simulation.rivals.keda import Keda, KedaOptions
from vaultstream.simulation.run import Mark, Moment

JOB = "recorded"  # the name by which state_of knows it
BEGIN, END = "<!-- beside KEDA -->", "<!-- end of beside KEDA -->"
PICTURES = ROOT / "docs/images/node"
VAULTSTREAM, KEDA = "vaultstream", "keda-tuned"
STEP_SECONDS, RATE_SECONDS = 0.25, 3.0
LAGS = "/api/v1/namespaces/vaultstream/pods/vaultstream-nats-0:8222/proxy/jsz?accounts=true&streams=true&consumers=true"
MOST_SIGNERS, THRESHOLD = 8, KedaOptions().lag_threshold
NOTHING = Counts(planned=True, records_left=0, batches_left=0, settled_lately=0, window_seconds=None)


@dataclass(frozen=True)
class Case:
    """A job: what is signed, and what it is about."""

    about: str
    records: int
    batch_size: int
    algorithm: str


CASES = {
    "small": Case("a job of seconds", 4_000, 50, "RSA_PSS_3072_SHA256"),
    "backlog": Case("RSA keeps a core busy for each signer, and there are two", 60_000, 50, "RSA_PSS_3072_SHA256"),
    "knee": Case("ECDSA with two signers keeps the node busy", 2_000_000, 500, "ECDSA_P256_SHA256"),
}  # fmt: skip


@dataclass(frozen=True)
class NodeRun:
    """One run: how long it took and what it cost, in seconds, and its course: seconds, signers requested, signers ready, lag, records signed."""

    case: str
    who: str
    makespan: float
    pod_seconds: float
    peak: int
    course: tuple[tuple[float, int, int, int, int], ...]

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The course for a chart."""
        made = []
        for number, (at, requested, ready, lag, signed) in enumerate(self.course):
            earlier = [row for row in self.course[:number] if row[0] <= at - RATE_SECONDS]
            since, before = (earlier[-1][0], earlier[-1][4]) if earlier else (0.0, 0)
            made.append(Moment(at, lag, requested, ready, (signed - before) / max(at - since, STEP_SECONDS)))
        return tuple(made)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Where the count changed."""
        pairs = zip(((0.0, 0, 0, 0, 0), *self.course), self.course, strict=False)
        return tuple(
            Mark(now[0], now[1], f"{then[1]} to {now[1]}") for then, now in pairs if then[1] != now[1]
        )


def manifest(case: Case, *, paused: bool) -> str:
    """Returns the job; with the count set from outside if it is paused."""
    annotations = {"vaultstream.dev/paused-replicas": "0"} if paused else {}
    spec = {
        "records": {"table": TABLE.format(records=case.records)},
        "batchSize": case.batch_size,
        "keys": {"count": 40, "algorithm": case.algorithm},
        "scaling": {"pollingInterval": 1, "maxReplicaCount": MOST_SIGNERS},
        "signer": {
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
        },
    }
    metadata = {"name": JOB, "annotations": annotations}
    return json.dumps(
        {"apiVersion": "vaultstream.dev/v1alpha1", "kind": "SigningJob", "metadata": metadata, "spec": spec}
    )


def lag_now() -> int:
    """Returns the batches in the job's consumer as JetStream has them: pending, and delivered without an acknowledgment."""
    told = json.loads(kubectl("get", "--raw", LAGS))
    consumers = [
        consumer
        for account in told["account_details"]
        for stream in account.get("stream_detail", [])
        if stream["name"] == "VAULTSTREAM_RECORDS"
        for consumer in stream.get("consumer_detail", [])
    ]
    return sum(consumer["num_pending"] + consumer["num_ack_pending"] for consumer in consumers)


def run(name: str, who: str, seed: int) -> NodeRun:
    """Runs a job from its creation until its last signer is gone."""
    selector = f"app.kubernetes.io/component=signing,vaultstream.dev/job={JOB}"
    kubectl("delete", "signingjob", JOB, "--ignore-not-found")
    kubectl("wait", "--for=delete", "pod", "--selector", selector, f"--timeout={LIMIT_SECONDS:g}s")
    job: list[Seen] = []
    pods: list[Seen] = []
    watches = [watch(job, "signingjobs"), watch(pods, "pods", "--selector", selector)]
    time.sleep(2.0)  # until both watch: what kubectl prints first is what was there before
    begun = time.monotonic()
    kubectl("apply", "--filename=-", stdin=manifest(CASES[name], paused=who == KEDA))
    keda = Keda(KedaOptions(most=MOST_SIGNERS, lag_threshold=THRESHOLD).tuned(), Random(seed))  # noqa: S311 - phases
    course: list[tuple[float, int, int, int, int]] = []
    try:
        while state_of(job) != "Complete" or not all_gone(pods):
            now, status, lag = time.monotonic() - begun, status_of(job), lag_now()
            if status.get("state") == "Failed" or now > LIMIT_SECONDS:
                raise SystemExit(f"{name} by {who} is {status.get('state')}.")
            scaling = status.get("scaling") or {}
            if status.get("state") == "Complete":
                count = 0
            elif who == KEDA:
                count = decided(keda, now, lag, course[-1][1] if course else 0)
            else:
                count = int(scaling.get("desired") or 0)
            course.append(
                (round(now, 2), count, int(scaling.get("ready") or 0), lag, int(status.get("signed") or 0))
            )
            time.sleep(STEP_SECONDS)
    finally:
        for each in watches:
            each.terminate()
            each.wait()
    complete = next(at for at, _, found in job if is_complete(found))
    peak = max(row[1] for row in course)
    return NodeRun(name, who, round(complete - begun, 2), pod_seconds(pods), peak, tuple(course))


def decided(keda: Keda, now: float, lag: int, count: int) -> int:
    """Lets KEDA decide, and sets the count if it is another one."""
    wanted = keda.decide(sight(now, lag, count))
    if wanted != count:
        annotation = f"vaultstream.dev/paused-replicas={wanted}"
        kubectl("annotate", "--overwrite", "signingjob", JOB, annotation)
    return wanted


def is_complete(found: dict[str, Any]) -> bool:
    """Returns whether an object is the job, and it is complete."""
    return found["metadata"]["name"] == JOB and (found.get("status") or {}).get("state") == "Complete"


def status_of(job: list[Seen]) -> dict[str, Any]:
    """Returns the latest status of the job."""
    latest = (found for _, _, found in reversed(list(job)) if found["metadata"]["name"] == JOB)
    return dict(next(latest, {}).get("status") or {})


def all_gone(pods: list[Seen]) -> bool:
    """Returns whether each signer that was seen is gone."""
    deleted = {pod["metadata"]["name"] for _, kind, pod in list(pods) if kind == "DELETED"}
    return deleted == {pod["metadata"]["name"] for _, _, pod in list(pods)}


def pod_seconds(pods: list[Seen]) -> float:
    """Returns the seconds that signers had a node, from their placement until they were gone."""
    placed: dict[str, float] = {}
    spent = 0.0
    for at, kind, pod in pods:
        conditions = pod["status"].get("conditions", [])
        if any(one["type"] == "PodScheduled" and one["status"] == "True" for one in conditions):
            placed.setdefault(pod["metadata"]["name"], at)
        if kind == "DELETED":
            spent += at - placed.get(pod["metadata"]["name"], at)
    return round(spent, 1)


def sight(now: float, lag: int, requested: int) -> Sight:
    """Returns what KEDA reads: the lag and the count."""
    return Sight(
        now=now, counts=NOTHING, lag=Lag(lag), unpublished=0, batches_done=0, expected=0,
        requested=requested, ready=requested, unplaced=0, keys_active=None,
    )  # fmt: skip


def table(runs: list[NodeRun]) -> str:
    """Returns the runs of each scenario by each way to scale, as a table."""
    rows = []
    for name, case in CASES.items():
        for who in (VAULTSTREAM, KEDA):
            own = [each for each in runs if (each.case, each.who) == (name, who)]
            if own:
                rows.append(
                    f"| {name}: {case.about} | {case.records:,} | {who} | {', '.join(f'{each.makespan:.1f}' for each in own)} "
                    f"| {', '.join(f'{each.pod_seconds:.0f}' for each in own)} | {', '.join(str(each.peak) for each in own)} |"
                )
    lines = [
        "| Job | Records | Scaled by | Makespan, s | Pod-seconds | Peak |",
        "| --- | ---: | --- | --- | --- | --- |",
        *rows,
    ]
    pictures = [f"![{name}: {case.about}](images/node/{name}.svg)" for name, case in CASES.items()]
    return "\n".join(lines) + "\n\n" + "\n\n".join(pictures) + "\n"


def draw(runs: list[NodeRun]) -> None:
    """Draws the latest run of each way to scale."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        latest = {each.who: each for each in runs if each.case == name}
        if latest:
            drawn = svg_chart(
                f"{name}: {case.records:,} records on the node",
                latest,
                rate=f"over the latest {RATE_SECONDS:g} s",
            )
            (PICTURES / f"{name}.svg").write_text(drawn, encoding="utf-8")


def read(line: str) -> NodeRun:
    """Returns a run that was written."""
    found: dict[str, Any] = json.loads(line)
    return NodeRun(**found | {"course": tuple(tuple(row) for row in found["course"])})


def main() -> None:
    """Runs what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-page", action="store_true")
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    file: Path = arguments.file
    runs = [read(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    if not arguments.only_page:
        if os.geteuid() == 0:
            prefer_the_watches()
        for case in CASES.values():
            make_records(case.records)
        plan = [
            (name, who, turn)
            for turn in range(arguments.rounds)
            for name in CASES
            for who in (VAULTSTREAM, KEDA)
        ]
        for name, who, turn in plan[len(runs) :]:
            runs.append(run(name, who, seed=turn))
            with file.open("a", encoding="utf-8") as target:
                target.write(json.dumps(asdict(runs[-1])) + "\n")
            latest = runs[-1]
            sys.stdout.write(
                f"{name} by {who}: {latest.makespan:.1f} s, {latest.pod_seconds:.0f} pod-seconds, peak {latest.peak}\n"
            )
            sys.stdout.flush()
        kubectl("delete", "signingjob", JOB, "--ignore-not-found")
    text = table(runs)
    sys.stdout.write(text)
    if arguments.page:
        draw(runs)
        write_between(PAGE, BEGIN, text, END)


if __name__ == "__main__":
    main()
