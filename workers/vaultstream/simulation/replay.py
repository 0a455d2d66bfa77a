"""Recordings of real runs: what was observed at each decision, and what was decided. Replayed, they must give the same decisions.

A recording is JSON lines. The first has the `spec`; each further one has `now`, the `observation`, and the `decision` as `Decision.dump()`. The
history is not recorded: it follows from the observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic import TypeAdapter

from vaultstream.api import ScalingSpec
from vaultstream.scaling.decide import decide_next
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Observation

_OBSERVATIONS: Final = TypeAdapter(Observation)


def recorded(observation: Observation, decision: Decision, now: float) -> dict[str, Any]:
    """Returns the entry of a recording, ready for JSON. `now`: Unix seconds."""
    return {
        "now": now,
        "observation": _OBSERVATIONS.dump_python(observation, mode="json"),
        "decision": decision.dump(),
    }


def replayed(entries: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yields each recorded decision with the one that the same observations lead to now.

    Args:
        entries: of a recording, the spec first.
    """
    lines = iter(entries)
    spec, history = ScalingSpec.model_validate(next(lines)["spec"]), History()
    for entry in lines:
        observation = _OBSERVATIONS.validate_python(entry["observation"])
        decision, history = decide_next(spec, observation, history, entry["now"])
        yield entry["decision"], decision.dump()
