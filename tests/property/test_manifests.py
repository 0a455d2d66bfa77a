"""Any SigningJob survives its YAML; no text at all raises anything but InvalidJobError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.manifests import shortest_yaml
from vaultstream.api import (
    Algorithm,
    Backoff,
    Fallback,
    KeysSpec,
    RecordsSpec,
    RetriesSpec,
    ScaleDownRules,
    ScaleUpRules,
    ScalingBehavior,
    ScalingPolicy,
    ScalingSpec,
    SignerSpec,
    SigningJob,
    SigningJobSpec,
    changed_immutable_fields,
)
from vaultstream.api.document import yaml_text
from vaultstream.api.loader import parse_signing_job
from vaultstream.api.signingjob import API_VERSION, KIND, Metadata
from vaultstream.errors import InvalidJobError

pytestmark = pytest.mark.unit

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
WORDS = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,9}[A-Za-z0-9])?", fullmatch=True)
NAMES = WORDS | WORDS.map("example.com/{}".format)
LABELS = st.dictionaries(NAMES, st.just("") | WORDS, max_size=3)
QUANTITIES = st.dictionaries(
    st.sampled_from(["cpu", "memory", "hugepages-1Gi"]) | WORDS.map("example.com/{}".format),
    st.integers(0, 2**63 - 1)
    | st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,3})?([numkMGTPE]|[KMGTPE]i|e-?[0-9])?", fullmatch=True),
    max_size=3,
)
TOLERATIONS = st.fixed_dictionaries(
    {"key": NAMES, "effect": st.just("NoExecute")},
    optional={"operator": st.just("Equal"), "value": WORDS, "tolerationSeconds": st.integers(0, 2**31 - 1)},
) | st.just({"operator": "Exists"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e15, 1e15) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
INT32 = 2**31 - 1
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
COLUMNS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=63)


def made(model: Callable[..., Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # not st.builds: it would give a required field under its name in YAML as well
    return st.fixed_dictionaries(fields).map(lambda drawn: model(**drawn))


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


POLICIES = st.lists(
    made(
        ScalingPolicy,
        type=st.sampled_from(["Pods", "Percent"]),
        value=st.integers(1, INT32),
        period_seconds=st.integers(1, 1800),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
RULES: dict[str, st.SearchStrategy[Any]] = {
    "stabilization_window_seconds": st.integers(0, 3600),
    "select_policy": st.sampled_from(["Max", "Min", "Disabled"]),
    "tolerance": st.floats(0, 10),
    "policies": POLICIES,
}


@st.composite
def scalings(draw: st.DrawFn) -> ScalingSpec:
    least = draw(st.integers(0, 1000))
    return ScalingSpec(
        polling_interval=draw(st.integers(1, INT32)),
        cooldown_period=draw(st.integers(0, INT32)),
        initial_cooldown_period=draw(st.integers(0, INT32)),
        min_replica_count=least,
        max_replica_count=draw(optional(st.integers(max(least, 1), 1000))),
        idle_replica_count=draw(optional(st.integers(0, least - 1)) if least else st.none()),
        lag_threshold=draw(st.integers(1, INT32)),
        activation_lag_threshold=draw(st.integers(0, INT32)),
        fallback=draw(
            optional(
                made(
                    Fallback,
                    failure_threshold=st.integers(0, INT32),
                    replicas=st.integers(0, 1000),
                    behavior=st.sampled_from(["static", "currentReplicas", "currentReplicasIfLower"]),
                )
            )
        ),
        behavior=draw(
            made(
                ScalingBehavior,
                scale_up=made(ScaleUpRules, **RULES),
                scale_down=made(ScaleDownRules, **RULES),
            )
        ),
    )


@st.composite
def retries(draw: st.DrawFn) -> RetriesSpec:
    initial = draw(st.floats(0, 3600, exclude_min=True))
    backoff = Backoff(initial_seconds=initial, max_seconds=draw(st.floats(initial, 86_400)))
    return RetriesSpec(max_attempts=draw(st.integers(1, 100)), backoff=backoff)


@st.composite
def specs(draw: st.DrawFn) -> SigningJobSpec:
    algorithm = draw(st.sampled_from(Algorithm))
    by = draw(
        optional(st.datetimes(datetime(1970, 1, 3), datetime(9999, 12, 1), timezones=ZONES))  # noqa: DTZ001 - the zone is drawn
    )
    id_column = draw(COLUMNS)
    deadline = draw(optional(st.integers(1, INT32)))
    return SigningJobSpec(
        records=RecordsSpec(
            table=draw(COLUMNS),
            id_column=id_column,
            payload_column=draw(COLUMNS.filter(lambda column: column != id_column)),
            max_payload_bytes=draw(st.integers(1, 2**26)),
        ),
        batch_size=draw(st.integers(1, 20_000)),
        keys=KeysSpec(
            count=draw(st.integers(1, 10_000)),
            algorithm=algorithm,
            deterministic=draw(st.booleans()) and algorithm is Algorithm.ECDSA_P256_SHA256,
        ),
        scaling=draw(scalings()),
        retries=draw(retries()),
        signer=draw(
            made(
                SignerSpec,
                concurrency=st.integers(1, 64),
                resources=st.just({})
                | QUANTITIES.map(lambda amounts: {"requests": amounts, "limits": amounts}),
                node_selector=LABELS,
                tolerations=st.lists(TOLERATIONS, max_size=2).map(tuple),
                affinity=OBJECTS,
                topology_spread_constraints=st.lists(OBJECTS, max_size=2).map(tuple),
                priority_class_name=optional(
                    st.from_regex(r"[a-z0-9]([-a-z0-9]{0,9}[a-z0-9])?", fullmatch=True)
                ),
                pod_labels=LABELS,
                pod_annotations=st.dictionaries(NAMES, TEXT, max_size=3),
            )
        ),
        suspend=draw(st.booleans()),
        active_deadline_seconds=deadline,
        finish_by=by,
        finish_within=draw(optional(st.integers(1, deadline or INT32))) if by is None else None,
        ttl_seconds_after_finished=draw(optional(st.integers(0, INT32))),
        deletion_policy=draw(st.sampled_from(["Retain", "Delete"])),
    )


@given(specs())
@settings(max_examples=60, deadline=None)
def test_any_spec_survives_its_dump_and_its_manifests(spec: SigningJobSpec) -> None:
    assert SigningJobSpec.model_validate(spec.dump()) == spec
    job = SigningJob(api_version=API_VERSION, kind=KIND, metadata=Metadata(name="j"), spec=spec)
    whole = yaml_text(job.model_dump(mode="json", by_alias=True))
    assert parse_signing_job(whole, source="whole") == job
    assert parse_signing_job(shortest_yaml(job), source="shortest") == job
    assert changed_immutable_fields(spec, spec) == []


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(InvalidJobError):
        parse_signing_job(text, source="text")


@given(st.text(st.sampled_from("ab1:-[]{}&*!|>'\"#%@,? \n\t\\xuU0.<=~"), max_size=80))
@settings(max_examples=500, deadline=None)
def test_no_text_of_yaml_punctuation_raises_anything_else(text: str) -> None:
    with pytest.raises(InvalidJobError):
        parse_signing_job(text, source="text")


@given(specs(), st.data())
@settings(max_examples=100, deadline=None)
def test_any_value_in_any_field_is_accepted_or_refused_by_name(
    spec: SigningJobSpec, data: st.DataObject
) -> None:
    manifest: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "j"},
        "spec": spec.dump(),
    }
    place, path = manifest, []
    while True:
        name = data.draw(st.sampled_from(sorted(place)))
        path.append(name)
        if not (isinstance(place[name], dict) and place[name]) or data.draw(st.integers(0, 3)) == 0:
            break
        place = place[name]
    place[name] = data.draw(JSON)
    with contextlib.suppress(InvalidJobError):
        parse_signing_job(yaml_text(manifest), source="changed")


@given(st.datetimes(datetime(1970, 1, 3), datetime(9999, 12, 1), timezones=ZONES))  # noqa: DTZ001 - the zone is drawn
def test_a_finishing_time_keeps_its_instant(moment: datetime) -> None:
    spec = SigningJobSpec(records=RecordsSpec(table="t"), finish_by=moment)
    again = SigningJobSpec.model_validate(spec.dump()).finish_by
    assert again is not None
    assert again.astimezone(UTC) == moment.astimezone(UTC)
