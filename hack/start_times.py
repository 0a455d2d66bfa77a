"""Measures how long signers take on the node of `make kind-up`: from the start of their containers, and from the request, until they are Ready.

    python hack/start_times.py [--signers N] [--rounds N] [--new-jobs] [--algorithm NAME] [--priority]

A job is applied with all its signers, which are then withdrawn and asked for again in each further round; with `--new-jobs`, each round is
a new job, whose keys and records workers start beside its signers. Times are this process's own, of
the line of a watch in which a pod is Ready: what Kubernetes writes has whole seconds. A container starts when the kernel started its first
process, to 10 ms. With `--priority`, as root, daemons and pods of the node come before other work on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess  # - runs kubectl
import sys
import time
from pathlib import Path
from queue import Queue
from statistics import median
from threading import Thread
from typing import Any, NamedTuple

from node import CACHE, CONTEXT, KUBECTL, kubectl, prefer

JOB = "start-times"
SELECTOR = f"app.kubernetes.io/component=signing,vaultstream.dev/job={JOB}"
LINE = '{.metadata.name} {.status.containerStatuses[0].containerID} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
TICKS = os.sysconf("SC_CLK_TCK")
LIMIT_SECONDS = 180.0
FIT_BY_DEFAULT = 2
"""So many signers with the resources that they get by default fit on two cores beside the rest; more of them ask for less."""


class Start(NamedTuple):
    """One signer: seconds from its request and from the start of its container until it is Ready."""

    asked: float
    started: float


class Seen(NamedTuple):
    """A pod that is Ready: when this was seen, by the monotonic clock, and its container."""

    at: float
    container: str


def manifest(signers: int, algorithm: str) -> str:
    """Returns a job. With RSA, which signs some hundred records per second, it does not end while it is measured."""
    spec: dict[str, Any] = {
        "records": {"table": "receipts"},
        "batchSize": 100,
        "keys": {"count": max(10, signers), "algorithm": algorithm},
        "scaling": {"pollingInterval": 1, "minReplicaCount": signers, "maxReplicaCount": signers},
    }
    if signers > FIT_BY_DEFAULT:
        small = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
        spec["signer"] = {"resources": small}
    head = {"apiVersion": "vaultstream.dev/v1alpha1", "kind": "SigningJob", "metadata": {"name": JOB}}
    return json.dumps(head | {"spec": spec})


def watch(into: Queue[Seen]) -> subprocess.Popen[str]:
    """Puts each pod that is Ready into a queue, once."""
    words = [
        "get",
        "pods",
        "--selector",
        SELECTOR,
        "--watch",
        "--output",
        f"jsonpath={LINE}",
    ]
    running = subprocess.Popen([KUBECTL, *CONTEXT, *words], stdout=subprocess.PIPE, text=True)

    def read() -> None:
        known: set[str] = set()
        for line in running.stdout or ():
            now, words = time.monotonic(), line.split()
            if words[2:] == ["True"] and words[0] not in known:
                known.add(words[0])
                into.put(Seen(now, words[1].rpartition("/")[2]))

    Thread(target=read, daemon=True).start()
    return running


def first_process(container: str) -> float:
    """Returns when a container's first process was started, by the monotonic clock."""
    starts = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if container in (folder / "cgroup").read_text():
                starts.append(int((folder / "stat").read_text().rpartition(")")[2].split()[19]))
        except OSError:
            continue
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return min(starts) / TICKS - since_boot


def prefer_the_node() -> None:
    """Gives the node's daemons, and what holds its pods' namespaces, precedence over other work of this machine."""
    prefer(lambda words, _: str(CACHE).encode() in words or b"/pause" in words)


def gone() -> None:
    """Waits until no signer is left."""
    kubectl("wait", "--for=delete", "pod", "--selector", SELECTOR, f"--timeout={LIMIT_SECONDS:g}s")


def remove() -> None:
    """Deletes the job, and waits until no signer is left."""
    kubectl("delete", "signingjob", JOB, "--ignore-not-found")
    gone()


def measure(signers: int, rounds: int, *, algorithm: str, new_jobs: bool) -> list[list[Start]]:
    """Returns the starts of each round."""
    seen: Queue[Seen] = Queue()
    remove()
    watching = watch(seen)
    found: list[list[Start]] = []
    try:
        for number in range(rounds):
            if number and new_jobs:
                remove()
            asked = time.monotonic()
            if number == 0 or new_jobs:
                kubectl("apply", "--filename=-", stdin=manifest(signers, algorithm))
            else:
                pause("0")
                gone()
                asked = time.monotonic()
                pause(str(signers))
            starts = []
            for _ in range(signers):
                ready = seen.get(timeout=LIMIT_SECONDS)
                starts.append(Start(ready.at - asked, ready.at - first_process(ready.container)))
            found.append(starts)
            tell(number, starts, applied=number == 0 or new_jobs)
    finally:
        watching.terminate()
        watching.wait()
    say(f"events Unhealthy: {unhealthy()}")
    kubectl("delete", "signingjob", JOB)
    return found


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def pause(signers: str) -> None:
    """Fixes the number of signers."""
    kubectl("annotate", "--overwrite", "signingjob", JOB, f"vaultstream.dev/paused-replicas={signers}")


def unhealthy() -> str:
    """Returns what the kubelet's Events say of the signers' probes, or `none`."""
    listed = json.loads(kubectl("get", "events", "--field-selector=reason=Unhealthy", "--output=json"))
    said = [
        f"{item['message'][:90]} (x{item.get('count') or 1})"
        for item in listed["items"]
        if item["involvedObject"]["name"].startswith(JOB)
    ]
    return "; ".join(said) or "none"


def tell(number: int, starts: list[Start], *, applied: bool) -> None:
    """Prints one round."""
    asked, started = zip(*starts, strict=True)
    load = os.getloadavg()[0]
    say(
        f"round {number + 1}, load {load:.1f}: container to Ready {min(started):.2f} to {max(started):.2f} s, median {median(started):.2f}; "
        f"{'apply' if applied else 'request'} to first {min(asked):.2f}, to all {max(asked):.2f} s",
    )


def main() -> None:
    """Measures, and prints each round and all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--signers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--new-jobs", action="store_true")
    parser.add_argument("--algorithm", default="RSA_PSS_3072_SHA256")
    parser.add_argument("--priority", action="store_true")
    arguments = parser.parse_args()
    if arguments.priority:
        prefer_the_node()
    rounds = measure(
        arguments.signers, arguments.rounds, algorithm=arguments.algorithm, new_jobs=arguments.new_jobs
    )
    times = sorted(start.started for starts in rounds for start in starts)
    say(f"{len(times)} starts, container to Ready: {' '.join(f'{seconds:.2f}' for seconds in times)} s")


if __name__ == "__main__":
    main()
