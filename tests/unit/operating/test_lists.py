"""A refused list of namespaces stops no namespace that is known."""

from __future__ import annotations

from typing import Any, cast

import pytest

from vaultstream_operator.adapters.kube_api import KubeApi, KubeError, KubeJson
from vaultstream_operator.adapters.lists import Lists
from vaultstream_operator.adapters.mirror import Mirror
from vaultstream_operator.adapters.namespaces import ServedNamespaces

pytestmark = pytest.mark.unit


class Answers:
    """An API server with no objects, whose namespaces have labels."""

    def __init__(self) -> None:
        self.selected = ["team-b"]
        self.refuses = False
        self.jobs: dict[str, list[str]] = {}

    async def get(self, path: str, **query: str) -> KubeJson:
        if path != "/api/v1/namespaces":
            jobs = self.jobs.get(path.split("/")[-2], []) if path.endswith("/signingjobs") else []
            made = [signing_job(path.split("/")[-2], name) for name in jobs]
            return {"items": made, "metadata": {"resourceVersion": "2"}}
        if self.refuses:
            raise KubeError(403, "Forbidden", "namespaces is forbidden")
        items: list[dict[str, Any]] = [{"metadata": {"name": name}} for name in self.selected]
        return {"items": items, "metadata": {"resourceVersion": "1"}}


def signing_job(namespace: str, name: str) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {}}


def lists_of(answers: Answers, *named: str) -> tuple[Lists, ServedNamespaces]:
    namespaces = ServedNamespaces(named, "signing=true")
    return Lists(cast("KubeApi", answers), Mirror(), namespaces), namespaces


async def test_namespaces_that_were_selected_last_are_served_while_the_list_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = Answers()
    lists, namespaces = lists_of(answers)
    await lists.read()
    answers.refuses = True
    for _ in range(2):
        await lists.read()
        assert (namespaces.served, namespaces.lost, namespaces.unlisted) == ({"team-b"}, set(), True)
    said = [record.getMessage() for record in caplog.records if "can't list namespaces" in record.message]
    assert len(said) == 1, "and again after minutes"

    answers.refuses, answers.selected = False, ["team-c"]
    await lists.read()
    assert (namespaces.served, namespaces.unlisted) == ({"team-c"}, False)


async def test_named_namespaces_are_served_when_the_first_list_is_refused() -> None:
    answers = Answers()
    answers.refuses = True
    lists, namespaces = lists_of(answers, "team-a")
    await lists.read(exact=True)
    assert (namespaces.served, namespaces.unlisted) == ({"team-a"}, True)


async def test_an_operator_that_knows_no_namespace_has_not_started() -> None:
    answers = Answers()
    answers.refuses = True
    lists, _ = lists_of(answers)
    with pytest.raises(KubeError, match="forbidden"):
        await lists.read(exact=True)


async def test_of_the_namespaces_that_had_jobs_those_that_still_have_some_are_lost() -> None:
    answers = Answers()
    lists, namespaces = lists_of(answers, "team-a")
    await lists.read()
    answers.jobs = {"team-a": ["served"], "team-b": ["selected"], "team-c": ["left"]}
    assert await lists.find_left({"team-a", "team-b", "team-c", "team-d"}) == {("team-c", "left")}
    assert namespaces.lost == {"team-c"}
    assert "labels of the namespace selector" in namespaces.why_lost("team-c")

    assert await lists.find_left({"team-c"}) == set(), "it is known"
    answers.jobs = {}
    await lists.read()
    assert namespaces.lost == set()
