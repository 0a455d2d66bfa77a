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

    async def get(self, path: str, **query: str) -> KubeJson:
        if path != "/api/v1/namespaces":
            return {"items": [], "metadata": {"resourceVersion": "1"}}
        if self.refuses:
            raise KubeError(403, "Forbidden", "namespaces is forbidden")
        items: list[dict[str, Any]] = [{"metadata": {"name": name}} for name in self.selected]
        return {"items": items, "metadata": {"resourceVersion": "1"}}


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
