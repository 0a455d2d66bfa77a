"""Each alert in Prometheus's own unit tests: when it fires, what it says, and when it does not.

`alerts/` has a file of tests for each file of the chart's alerts, in the format of `promtool test rules`.
"""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube import binaries
from support.chart import CHART, render

pytestmark = pytest.mark.unit

TESTS = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))
ON = ("--set", "monitoring.prometheusRule.enabled=true")


@pytest.fixture(scope="module")
def groups() -> dict[str, Any]:
    """The groups of rules, as the chart renders them."""
    [rule] = render(*ON).of("PrometheusRule")
    return dict(rule["spec"])


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = binaries.find("promtool", pinned=True)
    assert program, "promtool is built before the tests start"
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def run_tests(folder: Path, rules: dict[str, Any], *tests: Path) -> subprocess.CompletedProcess[str]:
    """Runs the files of tests against the rules."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    words = []
    for path in tests:
        content = yaml.safe_load(path.read_text())
        for test in content["tests"]:
            test["interval"] = "1m"
        words.append(folder / path.name)
        words[-1].write_text(
            yaml.safe_dump(content | {"rule_files": ["rules.yaml"], "evaluation_interval": "1m"})
        )
    return promtool("test", "rules", *words)


def with_rule(groups: dict[str, Any], name: str, **changed: object) -> dict[str, Any]:
    """The same groups, with other fields of one alert."""
    changed_groups = copy.deepcopy(groups)
    [rule] = [each for group in changed_groups["groups"] for each in group["rules"] if each["alert"] == name]
    rule.update(changed)
    return changed_groups


def alert_of(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "files" / "alerts" / path.name).read_text()))


def test_prometheus_takes_the_rules(tmp_path: Path, groups: dict[str, Any]) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups))
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_tests_in_which_it_fires_and_in_which_it_does_not() -> None:
    assert [path.name for path in TESTS] == sorted(
        path.name for path in (CHART / "files" / "alerts").iterdir()
    )
    for path in TESTS:
        checks = [
            each for test in yaml.safe_load(path.read_text())["tests"] for each in test["alert_rule_test"]
        ]
        assert {each["alertname"] for each in checks} == {alert_of(path)["alert"]}
        assert {bool(each.get("exp_alerts")) for each in checks} == {True, False}, path.name


def test_each_alert_fires_when_it_must_and_only_then(tmp_path: Path, groups: dict[str, Any]) -> None:
    done = run_tests(tmp_path, groups, *TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_tests_of_an_alert_notice_that_it_never_fires_or_fires_at_once(
    path: Path, tmp_path: Path, groups: dict[str, Any]
) -> None:
    name, metric = alert_of(path)["alert"], "vector(1)"
    for changed in ({"expr": f"{metric} > 1"}, {"expr": metric, "for": "0s"}):
        done = run_tests(tmp_path, with_rule(groups, name, **changed), path)
        assert "FAILED" in done.stdout + done.stderr, changed
        assert done.returncode != 0
