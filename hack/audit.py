"""Checks the pinned packages against a checkout of the advisories of pypa/advisory-database: `hack/audit.py FOLDER`.

The advisories are in the form of OSV, one YAML file each, in `vulns/<package>/`. Prints the state of the checkout, so that a
result can be reproduced, and each pinned version that an advisory affects. Exit code 1: there is one, or no advisory was found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]
ACCEPTED: Mapping[str, str] = {}
"""Ids of advisories that do not concern VaultStream, each with the reason."""

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True, order=True)
class Finding:
    """A pinned version that an advisory affects."""

    name: str
    version: str
    advisory: str
    fixed: str

    def __str__(self) -> str:
        remedy = f"fixed in {self.fixed}" if self.fixed else "no version fixes it"
        return f"{self.name} {self.version}: {self.advisory}, {remedy}"


def pins(folder: Path) -> set[tuple[str, str]]:
    """Returns name and version of every package that the files of a folder pin."""
    return {
        (canonicalize_name(pin["name"]), pin["version"])
        for path in sorted(folder.glob("*.txt"))
        for pin in _PIN.finditer(path.read_text(encoding="utf-8"))
    }


def findings(pinned: set[tuple[str, str]], advisories: Path) -> list[Finding]:
    """Returns what the advisories report about pinned packages, except accepted and withdrawn ones."""
    found = set()
    for name, version in pinned:
        for path in (advisories / "vulns" / name).glob("*.yaml"):
            advisory = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
            if "withdrawn" in advisory or ACCEPTED.keys() & {advisory["id"], *advisory.get("aliases", ())}:
                continue
            for affected in advisory["affected"]:
                if canonicalize_name(affected["package"]["name"]) == name and affects(affected, version):
                    found.add(Finding(name, version, _title(advisory), ", ".join(_fixes(affected))))
    return sorted(found)


def affects(affected: Mapping[str, Any], version: str) -> bool:
    """Returns whether an entry of `affected` lists a version, or has it in one of its ranges of versions."""
    if version in {str(each) for each in affected.get("versions", ())}:
        return True
    return any(_within(events, Version(version)) for events in _ranges(affected))


def _within(events: list[Mapping[str, Any]], version: Version) -> bool:
    within = False
    for event in events:
        [(kind, limit)] = event.items()
        beyond = _reaches(version, str(limit), strictly=kind == "last_affected")
        if beyond:
            within = kind == "introduced"
    return within


def _reaches(version: Version, limit: str, *, strictly: bool) -> bool:
    try:
        least = Version(limit)
    except InvalidVersion:
        return False
    return version > least if strictly else version >= least


def _ranges(affected: Mapping[str, Any]) -> Iterator[list[Mapping[str, Any]]]:
    for each in affected.get("ranges", ()):
        if each["type"] == "ECOSYSTEM":
            yield each["events"]


def _fixes(affected: Mapping[str, Any]) -> list[str]:
    return [str(event["fixed"]) for events in _ranges(affected) for event in events if "fixed" in event]


def _title(advisory: Mapping[str, Any]) -> str:
    return " ".join(
        [advisory["id"], *(each for each in advisory.get("aliases", ()) if each.startswith("CVE-"))]
    )


def main(advisories: Path) -> int:
    """Prints what is found; returns the exit code."""
    count = sum(1 for _ in advisories.glob("vulns/*/*.yaml"))
    if not count:
        print(f"error: {advisories} has no advisories.\n  try: clone pypa/advisory-database there.")  # noqa: T201
        return 1
    state = subprocess.run(
        ["git", "-C", advisories, "log", "-1", "--format=%H of %cs"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    pinned = pins(ROOT / "constraints")
    found = findings(pinned, advisories)
    of = state.stdout.strip() or "of an unknown state"
    print(f"{count} advisories, {of}; {len(pinned)} pinned packages")  # noqa: T201
    for each in found:
        print(f"affected  {each}")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit("usage: hack/audit.py FOLDER")
    sys.exit(main(Path(sys.argv[1])))
