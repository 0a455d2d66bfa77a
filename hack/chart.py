"""Checks charts/vaultstream and generates its README: `hack/chart.py check`, `hack/chart.py readme`.

Missing tools (helm, helm-unittest, kube-score) are built from pinned Go modules and cached.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from chart_values import with_values
from kube.binaries import ensure
from kube.commands import CommandError, run
from vaultstream.errors import VaultStreamError

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "vaultstream"
README = CHART / "README.md"
VALUES = CHART / "values.yaml"
TOOLS = ("helm", "helm-unittest", "kube-score")

Programs = Mapping[str, Path]

UNHEEDED = {
    "container-image-pull-policy": "IfNotPresent is correct for tags that are never reused",
    "networkpolicy-targets-pod": "the operator creates the workers' pods, not the chart",
}
"""Tests of kube-score that are ignored, each with the reason."""
CPU_UNLIMITED = ("--ignore-container-cpu-limit",)  # a limit throttles a process while processors are idle


def values_files() -> list[Path]:
    """Returns the files of values that the chart is checked with, besides its defaults."""
    return [
        *sorted((CHART / "ci").glob("*-values.yaml")),
        ROOT / "examples/production/vaultstream-values.yaml",
    ]


async def lint(programs: Programs) -> None:
    """Runs `helm lint --strict` with the defaults and with each file of values."""
    for values in (None, *values_files()):
        given = ("--values", values) if values else ()
        await run(programs["helm"], "lint", "--strict", "--quiet", CHART, *given)


async def unit_tests(programs: Programs) -> None:
    """Runs the chart's unit tests with helm-unittest."""
    await run(programs["helm-unittest"], "--strict", "--file", "tests/*_test.yaml", CHART)


async def score(programs: Programs) -> None:
    """Runs kube-score on the manifests of each file of values."""
    ignored = [word for name in UNHEEDED for word in ("--ignore-test", name)]
    for values in (None, *values_files()):
        given = ("--values", values) if values else ()
        rendered = await run(
            programs["helm"], "template", "vaultstream", CHART, "--namespace", "signing", *given
        )
        with tempfile.TemporaryDirectory() as folder:
            manifests = Path(folder) / "manifests.yaml"
            manifests.write_text(rendered.stdout, encoding="utf-8")
            version = ("--kubernetes-version", "v1.30")
            await run(programs["kube-score"], "score", *version, *ignored, *CPU_UNLIMITED, manifests)


async def readme_is_current(_: Programs) -> None:
    """Checks that README.md is up to date with the values and their comments.

    Raises:
        VaultStreamError: it is not.
    """
    text = README.read_text(encoding="utf-8")
    if with_values(text, VALUES.read_text(encoding="utf-8")) != text:
        raise VaultStreamError("README.md is not up to date with values.yaml.", hint="make docs")


CHECKS: Mapping[str, Callable[[Programs], Awaitable[None]]] = {
    "helm lint --strict": lint,
    "helm-unittest": unit_tests,
    "kube-score": score,
    "README.md": readme_is_current,
}


async def main(command: str) -> int:
    """Runs the checks, or writes the README; returns the exit code."""
    if command == "readme":
        text = README.read_text(encoding="utf-8")
        README.write_text(with_values(text, VALUES.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    programs = await ensure(TOOLS)
    failed = 0
    for name, check in CHECKS.items():
        try:
            await check(programs)
        except CommandError as error:
            failed += 1
            print(f"failed  {name}\n{error.output.stdout}{error.output.stderr}")  # noqa: T201 - its output
        except VaultStreamError as error:
            failed += 1
            print(f"failed  {name}: {error.message}\n  try: {error.hint}")  # noqa: T201 - its output
        else:
            print(f"ok      {name}")  # noqa: T201 - its output
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["check"], ["readme"]):
        sys.exit("usage: hack/chart.py check|readme")
    sys.exit(asyncio.run(main(sys.argv[1])))
