"""The types: their defaults, their schema, and which fields may change during the life of a job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

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
    ScalingSpec,
    SignerSpec,
    SigningJob,
    SigningJobSpec,
    changed_immutable_fields,
)
from vaultstream.api.base import Model
from vaultstream.api.signingjob import Metadata

pytestmark = pytest.mark.unit

SPEC = SigningJobSpec(records=RecordsSpec(table="receipts"))
WITH_DEFAULTS: list[type[BaseModel]] = [
    KeysSpec,
    Backoff,
    RetriesSpec,
    ScaleUpRules,
    ScaleDownRules,
    ScalingBehavior,
    ScalingSpec,
    SignerSpec,
]


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for title, model in {"SigningJob": schema, **schema["$defs"]}.items():
        for name, field in model.get("properties", {}).items():
            yield f"{title}.{name}", field


@pytest.mark.parametrize("model", WITH_DEFAULTS, ids=lambda model: model.__name__)
def test_every_default_is_itself_valid(model: type[BaseModel]) -> None:
    default = model()
    assert model.model_validate(default.model_dump(mode="json", by_alias=True)) == default


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def test_every_field_has_a_description() -> None:
    models: list[type[BaseModel]] = [Metadata, *_subclasses(Model)]
    fields = {
        f"{model.__name__}.{name}": field.get("description")
        for model in models
        for name, field in model.model_json_schema().get("properties", {}).items()
    }
    assert len(fields) > 50
    assert [name for name, description in fields.items() if not description] == []


def test_the_schema_is_json() -> None:
    schema = SigningJob.model_json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert "spec" in schema["required"]


def test_the_names_in_the_schema_are_those_of_yaml() -> None:
    assert [name for name, _ in _fields(SigningJob.model_json_schema()) if "_" in name.split(".")[1]] == []


def test_a_dump_is_json_under_the_names_of_yaml_and_makes_the_same_spec() -> None:
    spec = SPEC.model_copy(update={"keys": KeysSpec(algorithm=Algorithm.ML_DSA_65)})
    dumped = json.loads(json.dumps(spec.dump()))
    assert dumped["keys"]["algorithm"] == "ML_DSA_65"
    assert dumped["records"]["payloadColumn"] == "payload"
    assert SigningJobSpec.model_validate(dumped) == spec


def test_a_dump_names_what_is_signed_only_if_a_job_says_so() -> None:
    """Programs from before that field read the other jobs, also after a rollback."""
    assert "signature" not in SPEC.dump()
    refusing = SigningJobSpec.model_validate({**SPEC.dump(), "signature": {"refuseTokens": True}})
    assert refusing.dump()["signature"]["refuseTokens"] is True
    assert SigningJobSpec.model_validate(refusing.dump()) == refusing
    assert changed_immutable_fields(SPEC, refusing) == ["signature.refuseTokens"]


def test_a_job_that_signs_jws_refuses_no_tokens() -> None:
    assert (
        SigningJobSpec.model_validate({**SPEC.dump(), "signature": {"format": "JWS"}}).signature.format
        == "JWS"
    )
    with pytest.raises(ValidationError, match="refuseTokens requires the format Raw"):
        SigningJobSpec.model_validate({**SPEC.dump(), "signature": {"format": "JWS", "refuseTokens": True}})


def test_a_spec_can_not_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SPEC.batch_size = 7  # type: ignore[misc]


def test_the_defaults_of_one_spec_are_not_those_of_another() -> None:
    SignerSpec().resources["limits"] = {"cpu": 1}
    assert SignerSpec().resources == {}


@pytest.mark.parametrize("moment", [1_800_000_000, "1800000000", "2030-01-01", "2030-01-01T06:00:00", True])
def test_a_finishing_time_without_a_zone_is_refused(moment: object) -> None:
    with pytest.raises(ValidationError, match="finishBy"):
        SigningJobSpec.model_validate({"records": {"table": "t"}, "finishBy": moment})


def test_the_fallback_requires_both_numbers() -> None:
    with pytest.raises(ValidationError) as caught:
        Fallback.model_validate({})
    assert {error["loc"][0] for error in caught.value.errors()} == {"failureThreshold", "replicas"}


def test_a_rule_between_fields_reads_as_a_sentence_without_the_loader() -> None:
    with pytest.raises(ValidationError, match=r"minReplicaCount \(3\) must not exceed maxReplicaCount \(2\)"):
        ScalingSpec(min_replica_count=3, max_replica_count=2)


def test_a_changed_immutable_field_is_named() -> None:
    new = SigningJobSpec(
        records=RecordsSpec(table="receipts", id_column="no"),
        batch_size=501,
        keys=KeysSpec(count=3, deterministic=True),
    )
    assert changed_immutable_fields(SPEC, new) == [
        "records.idColumn",
        "batchSize",
        "keys.count",
        "keys.deterministic",
    ]


def test_every_other_field_may_change() -> None:
    new = SigningJobSpec(
        records=SPEC.records,
        scaling=ScalingSpec(max_replica_count=3),
        retries=RetriesSpec(max_attempts=1),
        signer=SignerSpec(concurrency=1),
        suspend=True,
        finish_within=60,
        deletion_policy="Delete",
    )
    assert changed_immutable_fields(SPEC, new) == []


@pytest.mark.parametrize("field", ["table", "idColumn", "payloadColumn"])
def test_no_name_has_a_nul_character(field: str) -> None:
    with pytest.raises(ValidationError, match="must have no NUL character"):
        RecordsSpec.model_validate({"table": "receipts", field: "a\0b"})
    RecordsSpec.model_validate({"table": "receipts", field: "a\tb\nc"})


def test_no_list_of_a_spec_is_without_an_end() -> None:
    SignerSpec.model_validate({"topologySpreadConstraints": [{}] * 32})
    with pytest.raises(ValidationError, match="at most 32"):
        SignerSpec.model_validate({"topologySpreadConstraints": [{}] * 33})
