"""Answers of JetStream that waiting does not change are told from those that pass."""

from __future__ import annotations

import pytest
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServerError, ServiceUnavailableError

from vaultstream.bus.answers import explain_answer
from vaultstream.errors import ExitCode

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (ServiceUnavailableError(503, "JetStream not enabled", 10076), "without JetStream"),
        (
            ServiceUnavailableError(503, "JetStream not enabled for account", 10039),
            "without JetStream for this account",
        ),
        (BadRequestError(400, "subjects overlap with an existing stream", 10065), "overlap"),
        (BadRequestError(400, "stream name already in use with a different configuration", 10058), "refuses"),
        (APIError(403, "not allowed", 10000), "refuses"),
        (ServerError(500, "insufficient storage resources available", 10047), "no room"),
        (BadRequestError(400, "maximum number of streams reached", 10027), "no room"),
        (BadRequestError(400, "no JetStream default or applicable tiered limit present", 10120), "no room"),
    ],
)
def test_a_permanent_answer_is_explained_with_a_next_step(error: APIError, part: str) -> None:
    told = explain_answer(error, "VAULTSTREAM_RECORDS")
    assert told is not None
    assert part in told.message
    assert told.hint
    assert told.exit_code == ExitCode.SERVICE


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailableError(),
        ServiceUnavailableError(503, "JetStream system temporarily unavailable", 10008),
        APIError(429, "too many requests", 10167),
        APIError(408, "request timeout"),
        NotFoundError(404, "stream not found", 10059),
        ServerError(500, "raft: not leader", 10009),
        ServiceUnavailableError(503, "insufficient resources", 10023),
        BadRequestError(400, "no suitable peers for placement", 10005),
    ],
)
def test_an_answer_that_passes_is_waited_for(error: APIError) -> None:
    assert explain_answer(error, "VAULTSTREAM_RECORDS") is None


def test_the_streams_in_the_way_are_named() -> None:
    error = BadRequestError(400, "subjects overlap with an existing stream", 10065)
    told = explain_answer(error, "VAULTSTREAM_RECORDS", others=["AUDIT", "EVENTS"])
    assert told is not None
    assert "AUDIT and EVENTS" in told.message
