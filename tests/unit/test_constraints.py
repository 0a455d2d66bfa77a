"""What gets installed is pinned, hashed, and what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD = PROJECT["build-system"]["requires"]
RUNTIME = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
DEV = [*RUNTIME, *(want for extra in EXTRAS.values() for want in extra)]
LOCAL = [*EXTRAS["local"], *EXTRAS["parquet"]]

PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)")


def _pins(file: str) -> dict[str, str]:
    lines = (ROOT / "constraints" / file).read_text().splitlines()
    return {pin["name"]: pin["version"] for line in lines if (pin := PIN.match(line))}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [("build.txt", want) for want in BUILD]
    + [("runtime.txt", want) for want in [*RUNTIME, *LOCAL]]
    + [("image.txt", want) for want in [*RUNTIME, *EXTRAS["operator"]]]
    + [("dev.txt", want) for want in DEV],
)
def test_each_dependency_is_pinned_where_pyproject_allows_it(file: str, wanted: str) -> None:
    requirement = Requirement(wanted)
    pins = _pins(file)
    assert requirement.name in pins, "run `make constraints`"
    assert requirement.specifier.contains(pins[requirement.name]), "run `make constraints`"


@pytest.mark.parametrize("file", ["build.txt", "image.txt", "runtime.txt"])
def test_tests_run_on_the_very_versions_that_people_get(file: str) -> None:
    installed, dev = _pins(file), _pins("dev.txt")
    shared = installed.keys() & dev.keys()
    assert shared
    assert {name: dev[name] for name in shared} == {name: installed[name] for name in shared}


@pytest.mark.parametrize(
    "file", ["build.txt", "image.txt", "native.txt", "runtime.txt", "dev.txt", "sbom.txt", "tools.txt"]
)
def test_every_pin_has_a_hash_and_no_file_names_an_index(file: str) -> None:
    text = (ROOT / "constraints" / file).read_text()
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert not re.search(r"https?:|--(?:extra-)?index|--find-links", text)


def test_the_image_leaves_out_the_embedded_services_and_parquet() -> None:
    assert not _pins("image.txt").keys() & {Requirement(want).name for want in LOCAL}
