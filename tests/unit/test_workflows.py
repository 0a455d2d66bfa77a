"""The workflows: pinned actions, the least permissions, no secret but the token of the run, and nothing of others in a shell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WRITES = {
    "release": {
        "contents": "write",
        "packages": "write",
        "id-token": "write",
        "attestations": "write",
    }
}


def jobs(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text())["jobs"])


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job.get("steps", [])]


def test_there_are_workflows_for_tests_image_chart_audit_and_release() -> None:
    assert {path.stem for path in WORKFLOWS} == {"test", "image", "chart", "audit", "release"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_action_is_pinned_by_its_commit_and_names_its_version(path: Path) -> None:
    used = [line for line in path.read_text().splitlines() if re.search(r"^\s*(- )?uses:", line)]
    assert used
    pinned = re.compile(r"\s*(- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    ours = re.compile(r"\s*uses: \./\.github/workflows/\w+\.yml")
    assert [line for line in used if not pinned.fullmatch(line) and not ours.fullmatch(line)] == []


def test_an_action_has_one_version_everywhere() -> None:
    found: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for name, version in re.findall(r"uses: (\S+?)@(.+)", path.read_text()):
            found.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_unless_it_publishes(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    given = {name: job["permissions"] for name, job in jobs(path).items() if "permissions" in job}
    assert given == ({"release": WRITES["release"]} if path.stem == "release" else {})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_fork_needs_no_secret_and_no_setting(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}
    assert not re.search(r"\bvars\.|pull_request_target|workflow_run", text)
    assert "github.repository" not in text  # the names come from the environment, in lower case


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_expression_is_put_into_a_shell(path: Path) -> None:
    assert [step["run"] for step in steps(path) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_job_ends_and_leaves_no_credentials_in_its_checkout(path: Path) -> None:
    assert [
        name for name, job in jobs(path).items() if "uses" not in job and "timeout-minutes" not in job
    ] == []
    checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_the_workflows_run_targets_and_files_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in WORKFLOWS:
        for step in steps(path):
            for target in re.findall(r"^make ([a-z-]+)", step.get("run", ""), re.MULTILINE):
                assert target in targets, target
    matrix = jobs(ROOT / ".github" / "workflows" / "test.yml")["make"]["strategy"]["matrix"]["target"]
    assert set(matrix) <= targets


def test_nothing_is_published_before_the_tests_of_that_commit_have_passed() -> None:
    release = jobs(ROOT / ".github" / "workflows" / "release.yml")
    called = {name: job["uses"] for name, job in release.items() if "uses" in job}
    assert called == {name: f"./.github/workflows/{name}.yml" for name in ("test", "chart")}
    assert set(release["release"]["needs"]) == set(called)
    assert "if" not in release["release"]
    for use in called.values():
        assert "workflow_call" in yaml.safe_load((ROOT / use).read_text())[True], "YAML reads `on` as true"


def test_the_release_names_the_image_in_the_chart_by_its_digest() -> None:
    """The lines of the values that it replaces are there, the first ones of their kind."""
    values = (ROOT / "charts" / "vaultstream" / "values.yaml").read_text()
    image = values.index("\nimage:\n")
    for line in ("  repository: vaultstream\n", '  digest: ""\n'):
        assert values.index(line) > image
        assert values.index(line) < values.index("\nimagePullSecrets:")
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert r"0,/^  repository: vaultstream\$/s" in text
    assert r"0,/^  digest: \"\"\$/s" in text


def test_each_file_of_a_release_is_signed_and_built_before_anything_is_pushed() -> None:
    """A wheel that can't be built must not leave an image without its release."""
    runs = [
        step.get("run", "")
        for step in jobs(ROOT / ".github" / "workflows" / "release.yml")["release"]["steps"]
    ]
    (built,) = (at for at, run in enumerate(runs) if "make wheel" in run)
    assert built < min(at for at, run in enumerate(runs) if re.search(r"\b(docker|helm) push\b", run))
    (loop,) = re.findall(r'for file in dist/vaultstream-"\$VERSION"\{(\S+)\}; do\n(.*)\n', "\n".join(runs))
    assert loop[0].split(",") == [".tgz", ".cdx.json", "-*.whl"]
    assert 'cosign sign-blob --yes --bundle "$file.sigstore.json" "$file"' in loop[1]
