"""Reading a manifest: what is refused, and in which words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vaultstream.api.loader import load_signing_job, parse_signing_job, parse_signing_jobs
from vaultstream.errors import ExitCode, InvalidJobError

pytestmark = pytest.mark.unit

HEAD = "apiVersion: vaultstream.dev/v1alpha1\nkind: SigningJob\nmetadata: {name: j}\n"
RECORDS = "spec:\n  records: {table: t}\n"


def refusal(text: str) -> str:
    with pytest.raises(InvalidJobError) as caught:
        parse_signing_job(text, source="job.yaml")
    return caught.value.message


# A line under spec (which begins on line 4, so that the line given stands on line 6), and what the message says.
BAD_FIELDS = [
    ("batchSize: 0", "job.yaml:6: spec.batchSize: must be a whole number from 1 to 20000, not 0"),
    ("batchSize: 20001", "spec.batchSize: must be a whole number from 1 to 20000, not 20001"),
    ('batchSize: "500"', "spec.batchSize: must be a whole number from 1 to 20000, not '500'"),
    ("batchSize: 500.0", "spec.batchSize: must be a whole number"),
    ("batchSize: true", "spec.batchSize: must be a whole number from 1 to 20000, not true"),
    (
        "batchSize:",
        "spec.batchSize has no value: give a whole number from 1 to 20000, or remove the field",
    ),
    ("batchSize: [5]", "not a list"),
    (
        "batchSize: 9223372036854775808",
        "spec.batchSize: must be a finite number; whole numbers must fit in 64 bits",
    ),
    ("batchSize: !!int x", "spec.batchSize does not match the type of its YAML tag or form"),
    ("batchsize: 3", "spec.batchsize is not a field; did you mean batchSize?"),
    ("batch_size: 3", "spec.batch_size is not a field; did you mean batchSize?"),
    ("batchSise: 3", "spec.batchSise is not a field; did you mean batchSize?"),
    ("algorithm: ED25519", "spec.algorithm is not a field; did you mean spec.keys.algorithm?"),
    ("qqqq: 3", "spec.qqqq is not a field; spec has records, batchSize, keys"),
    ("keys: 5", "spec.keys: must be a mapping with the fields count, algorithm, deterministic, not 5"),
    ("keys: {count: 0}", "spec.keys.count: must be a whole number from 1 to 10000, not 0"),
    ("keys: {count: many}", "spec.keys.count: must be a whole number from 1 to 10000, not 'many'"),
    (
        "keys: {algorithm: RSA}",
        "spec.keys.algorithm: must be ECDSA_P256_SHA256, ED25519, RSA_PSS_3072_SHA256 or ML_DSA_65, not 'RSA'",
    ),
    ("keys: {algorithm: ed25519}", "spec.keys.algorithm: must be ECDSA_P256_SHA256, ED25519"),
    ("keys: {deterministic: 1}", "spec.keys.deterministic: must be true or false, not 1"),
    (
        "keys: {algorithm: ED25519, deterministic: true}",
        "spec.keys.deterministic: deterministic requires ECDSA_P256_SHA256 and does not apply to this algorithm (ED25519): remove it",
    ),
    ("keys: {count: 1, count: 2}", "job.yaml:6: spec.keys.count is given twice, first on line 6"),
    ("records: {table: u}", "job.yaml:6: spec.records is given twice, first on line 5"),
    ("scaling: {minReplicas: 1}", "spec.scaling.minReplicas is not a field; did you mean minReplicaCount?"),
    ("scaling: {pollingInterval: 0}", "spec.scaling.pollingInterval: must be a whole number from 1"),
    ("scaling: {cooldownPeriod: -1}", "spec.scaling.cooldownPeriod: must be a whole number from 0"),
    ("scaling: {lagThreshold: 0}", "spec.scaling.lagThreshold: must be a whole number from 1"),
    (
        "scaling: {maxReplicaCount: 0}",
        "spec.scaling.maxReplicaCount: must be a whole number from 1 to 1000, not 0",
    ),
    (
        "scaling: {minReplicaCount: 3, maxReplicaCount: 2}",
        "spec.scaling.minReplicaCount: minReplicaCount (3) must not exceed maxReplicaCount (2): lower one",
    ),
    (
        "scaling: {minReplicaCount: 3, idleReplicaCount: 3}",
        "spec.scaling.idleReplicaCount: idleReplicaCount (3) must be less than minReplicaCount (3): raise",
    ),
    (
        "scaling: {fallback: {replicas: 1}}",
        "spec.scaling.fallback.failureThreshold is required: a whole number",
    ),
    (
        "scaling: {fallback: {failureThreshold: 3, replicas: 1, behavior: hold}}",
        "spec.scaling.fallback.behavior: must be static, currentReplicas, currentReplicasIfHigher or",
    ),
    (
        "scaling: {behavior: {scaleUp: {stabilizationWindowSeconds: 3601}}}",
        "spec.scaling.behavior.scaleUp.stabilizationWindowSeconds: must be a whole number from 0 to 3600, not 3601",
    ),
    (
        "scaling: {behavior: {scaleDown: {selectPolicy: max}}}",
        "spec.scaling.behavior.scaleDown.selectPolicy: must be Max, Min or Disabled, not 'max'",
    ),
    ("scaling: {behavior: {scaleUp: {policies: []}}}", "policies: must be a list with at least one item"),
    (
        "scaling: {behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 1801}]}}}",
        "spec.scaling.behavior.scaleUp.policies[0].periodSeconds: must be a whole number from 1 to 1800, not 1801",
    ),
    (
        "scaling: {behavior: {scaleUp: {tolerance: -0.1}}}",
        "scaleUp.tolerance: must be a number of 0 or more, not -0.1",
    ),
    (
        "retries: {maxAttempts: 101}",
        "spec.retries.maxAttempts: must be a whole number from 1 to 100, not 101",
    ),
    (
        "retries: {backoff: {initialSeconds: 0}}",
        "spec.retries.backoff.initialSeconds: must be a number above 0 and at most 3600, not 0",
    ),
    (
        "retries: {backoff: {initialSeconds: .inf}}",
        "spec.retries.backoff.initialSeconds: must be a finite number",
    ),
    ("retries: {backoff: {maxSeconds: .nan}}", "spec.retries.backoff.maxSeconds: must be a finite number"),
    (
        "retries: {backoff: {initialSeconds: 61}}",
        "initialSeconds (61) must not exceed maxSeconds (60): lower one or raise the other",
    ),
    ("suspend: maybe", "spec.suspend: must be true or false, not 'maybe'"),
    (
        "activeDeadlineSeconds: 0",
        "spec.activeDeadlineSeconds: must be a whole number from 1 to 2147483647, not 0",
    ),
    (
        "finishBy: 2030-01-01",
        "spec.finishBy: must be a timestamp with a time zone, such as 2026-12-01T06:00:00Z, not",
    ),
    ("finishBy: 2030-01-01T00:00:00", "spec.finishBy: must be a timestamp with a time zone"),
    ("finishBy: 2030-13-01T00:00:00Z", "spec.finishBy: must be a timestamp with a time zone"),
    ("finishBy: 1893456000", "spec.finishBy: must be a timestamp with a time zone"),
    (
        "{finishBy: 2030-01-01T00:00:00Z, finishWithin: 60}",
        "spec.finishWithin: finishBy and finishWithin are mutually exclusive: remove one of them",
    ),
    (
        "{finishWithin: 61, activeDeadlineSeconds: 60}",
        "spec.finishWithin: finishWithin (61) must not exceed activeDeadlineSeconds (60)",
    ),
    ("ttlSecondsAfterFinished: -1", "spec.ttlSecondsAfterFinished: must be a whole number from 0"),
    ("deletionPolicy: Keep", "spec.deletionPolicy: must be Retain or Delete, not 'Keep'"),
    ("signer: {concurrency: 65}", "spec.signer.concurrency: must be a whole number from 1 to 64, not 65"),
    (
        "signer: {podLabels: {team: 7}}",
        "spec.signer.podLabels.team: must be text of at most 63 characters (put it in quotes), not 7",
    ),
    (
        "signer: {podAnnotations: {a: 7}}",
        "spec.signer.podAnnotations.a: must be text (put it in quotes), not 7",
    ),
    (
        "signer: {podLabels: {team: -a}}",
        "spec.signer.podLabels.team: must be at most 63 letters, digits, '-', '_' and '.', beginning",
    ),
    (
        "signer: {nodeSelector: {a/b/c: x}}",
        "spec.signer.nodeSelector: nodeSelector has an invalid key: use at most 63 letters",
    ),
    (
        "signer: {resources: {limits: {cpu: banana}}}",
        "spec.signer.resources.limits.cpu: must be a quantity of 0 or more, such as 500m, \"0.5\" or 4Gi, not 'banana'",
    ),
    (
        "signer: {resources: {limits: {cpu: 0.5}}}",
        'limits.cpu: must be a quantity of 0 or more, such as 500m, "0.5" or 4Gi, not 0.5',
    ),
    (
        "signer: {resources: {limits: {cpu: }}}",
        "spec.signer.resources.limits.cpu has no value: give a quantity",
    ),
    (
        "signer: {resources: {limits: {mem: 1}}}",
        "limits has an unknown resource: use cpu, memory, eph",
    ),
    (
        "signer: {resources: {requests: {cpu: 2}, limits: {cpu: 1500m}}}",
        "spec.signer.resources.requests: requests must not exceed the limits of the same resources: lower requests",
    ),
    (
        f"signer: {{podLabels: {{{', '.join(f'l{number}: x' for number in range(65))}}}}}",
        "spec.signer.podLabels has more than 64 items: remove some",
    ),
    (
        f"signer: {{tolerations: [{', '.join(['{operator: Exists}'] * 33)}]}}",
        "spec.signer.tolerations has more than 32 items: remove some",
    ),
    (
        "signer: {podLabels: {8080: x}}",
        "spec.signer.podLabels['8080'] is a key that YAML does not read as a string",
    ),
    ("signer: {podLabels: {[a]: x}}", "spec.signer.podLabels has a key that is not a string"),
    ("signer: {tolerations: {key: a}}", "spec.signer.tolerations: must be a list, not a mapping"),
    (
        "signer: {tolerations: [a]}",
        "spec.signer.tolerations[0]: must be a mapping with the fields key, operator, value, effect, toleration",
    ),
    (
        "signer: {tolerations: [{key: a, effect: Never}]}",
        "spec.signer.tolerations[0].effect: must be NoSchedule, PreferNoSchedule or NoExecute, not 'Never'",
    ),
    (
        "signer: {tolerations: [{key: a, tolerationSeconds: 5}]}",
        "tolerationSeconds requires effect NoExecute: set effect to NoExecute, or remove tolerationSeconds",
    ),
    ("signer: {resources: {<<: {cpu: 1}}}", "is a merge key, which is not supported: write the fields out"),
    ("signer: {affinity: !!set {a}}", "spec.signer.affinity has an unsupported YAML tag"),
    (
        'signer: {priorityClassName: "a\\0b"}',
        "spec.signer.priorityClassName contains a character that can't be stored",
    ),
]


@pytest.mark.parametrize(("line", "phrase"), BAD_FIELDS, ids=[line for line, _ in BAD_FIELDS])
def test_a_bad_field_is_refused_with_its_name_and_what_is_allowed(line: str, phrase: str) -> None:
    lines = line.strip("{}").split(", ") if line.startswith("{") else [line]
    message = refusal(HEAD + RECORDS + "".join(f"  {each}\n" for each in lines))
    assert phrase in message
    assert len(message.splitlines()) == 1
    assert message.startswith("job.yaml:")


BAD_DOCUMENTS = [
    (
        HEAD + "spec:\n  records:\n    table: t\n    payloadColumns: [a]\n    payloadColumns: [b]\n",
        "job.yaml:8: spec.records.payloadColumns is given twice, first on line 7",
    ),
    ("", "job.yaml: is empty"),
    ("# nothing\n", "job.yaml: is empty"),
    ("just text", "job.yaml:1: is not a SigningJob"),
    ("- a\n", "job.yaml:1: is not a SigningJob"),
    ("null", "job.yaml:1: is not a SigningJob"),
    ("a: [1", "is not YAML"),
    ("a: 'b", "is not YAML"),
    (
        "a:\n\tb: 1\n",
        "job.yaml:2: is not YAML: found character '\\t' that cannot start any token: indent with spaces",
    ),
    ("a: *nobody", "is not YAML"),
    ("a: !!python/object:os.system x", "kind"),
    ("a: \x07", "job.yaml:1: contains a control character"),
    ('a: "\\UFFFFFFFF"', "out of range"),
    ("[" * 5000, "nested more than 64 levels"),
    ("a: " + "[" * 70 + "]" * 70, "nested more than 64 levels"),
    ("a: &a [*a]", "nested more than 64 levels"),
    ("a: 1\n---\nb: 2\n", "contains more than one document"),
    ("#" * (1024 * 1024 + 1), "is larger than 1 MiB"),
    (
        HEAD.replace("v1alpha1", "v1") + RECORDS,
        "job.yaml:1: apiVersion: must be vaultstream.dev/v1alpha1, not",
    ),
    (HEAD.replace("SigningJob", "Job") + RECORDS, "job.yaml:2: kind: must be SigningJob, not 'Job'"),
    (HEAD.replace("kind: SigningJob\n", "") + RECORDS, "kind is required: SigningJob"),
    (RECORDS, "apiVersion is required: vaultstream.dev/v1alpha1"),
    (HEAD, "spec is required: a mapping with the fields records, batchSize"),
    (HEAD + "spec: {}", "job.yaml:4: spec.records is required: a mapping with the fields table, idColumn"),
    (HEAD + "spec: {records: {}}", "spec.records.table is required: text of 1 to 127 characters"),
    (
        HEAD + 'spec: {records: {table: ""}}',
        "spec.records.table: must be text of 1 to 127 characters, not ''",
    ),
    (
        HEAD + "spec: {records: {table: 12}}",
        "spec.records.table: must be text of 1 to 127 characters (put it in quotes), not 12",
    ),
    (
        HEAD + "spec: {records: {table: t, idColum: x}}",
        "spec.records.idColum is not a field; did you mean idColumn?",
    ),
    (
        HEAD.replace("j}", "My_Job}") + RECORDS,
        "job.yaml:3: metadata.name: must be text of 1 to 200 characters: lower-",
    ),
    (HEAD.replace("name: j", "") + RECORDS, "metadata.name is required"),
    (HEAD + RECORDS + "status: {}\n", "job.yaml:6: status is not a field"),
]


@pytest.mark.parametrize(
    ("text", "phrase"), BAD_DOCUMENTS, ids=[f"{n}-{text[:20]!r}" for n, (text, _) in enumerate(BAD_DOCUMENTS)]
)
def test_a_bad_document_is_refused_with_the_reason(text: str, phrase: str) -> None:
    assert phrase in refusal(text)


def test_all_problems_are_listed_in_the_order_of_their_lines() -> None:
    message = refusal(
        HEAD + "spec:\n  suspend: 7\n  records: {tabel: t}\n  keys:\n    count: 0\n    count: 1\n"
    )
    assert [line.split(":")[1] for line in message.splitlines()] == ["5", "6", "6", "8", "9"]


def test_a_long_list_of_problems_is_shortened_and_counted() -> None:
    message = refusal(HEAD + RECORDS + "".join(f"  qqq{n}: 1\n" for n in range(80)))
    assert len(message.splitlines()) == 51
    assert message.endswith("… and 30 more")


def test_an_object_of_another_kind_is_refused_for_its_kind_only() -> None:
    assert len(refusal("apiVersion: batch/v1\nkind: Job\nspec: {template: {}}").splitlines()) == 2


@pytest.mark.parametrize(
    "line",
    [
        "suspend: hunter2-password",
        "suspend: postgres://me:hunter2@host/db",
        "signer: {podAnnotations: {password: 4711}}",
        "suspend: MHcCAQEEIBkg4LVWM9nuwNSk3yByxZpYRTBnVJk",
        "suspend: '-----BEGIN PRIVATE KEY----- 4711'",
        "databasePassword: hunter2",
    ],
)
def test_a_possible_secret_is_not_repeated(line: str) -> None:
    message = refusal(HEAD + RECORDS + f"  {line}\n")
    assert "hunter2" not in message
    assert "4711" not in message
    assert "MHcC" not in message


def test_a_long_value_is_not_repeated() -> None:
    assert "text of 1002 characters" in refusal(HEAD + RECORDS + f"  suspend: {'ab' * 500}\n")


def test_a_key_pasted_in_place_of_a_name_is_not_repeated() -> None:
    assert "[a name of 39 characters]" in refusal(
        HEAD + RECORDS + "  MHcCAQEEIBkg4LVWM9nuwNSk3yByxZpYRTBnVJk: 1\n"
    )


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    begin = time.monotonic()
    assert "contains more than 100000 values" in refusal(bomb)
    assert time.monotonic() - begin < 10


def test_an_honest_alias_is_followed() -> None:
    text = HEAD + RECORDS + "  signer: {podLabels: &l {team: a}, podAnnotations: *l}\n"
    assert parse_signing_job(text, source="x").spec.signer.pod_annotations == {"team": "a"}


def test_a_merge_sign_in_quotes_is_a_name() -> None:
    text = HEAD + RECORDS + "  signer: {affinity: {'<<': a}}\n"
    assert parse_signing_job(text, source="x").spec.signer.affinity == {"<<": "a"}


def test_other_kubernetes_metadata_is_accepted() -> None:
    text = HEAD.replace("name: j", "name: j, namespace: n, labels: {a: b}") + RECORDS
    assert parse_signing_job(text, source="x").metadata.name == "j"


def test_json_is_read_too() -> None:
    text = '{"apiVersion": "vaultstream.dev/v1alpha1", "kind": "SigningJob",\n "metadata": {"name": "j"},\n "spec": {"records": {"table": "t"}}}'
    assert parse_signing_job(text, source="x") == parse_signing_job(HEAD + RECORDS, source="y")


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    for encoding in ("utf-8", "utf-8-sig"):
        file.write_text(HEAD + RECORDS.replace("t}", "квитанции}"), encoding=encoding)
        assert load_signing_job(file).spec.records.table == "квитанции"


def test_a_file_that_can_not_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidJobError, match=r"The file .*none\.yaml does not exist"):
        load_signing_job(tmp_path / "none.yaml")
    with pytest.raises(InvalidJobError, match="can't be read: Is a directory"):
        load_signing_job(tmp_path)


def test_a_file_that_is_not_text_or_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(InvalidJobError, match=r"job\.yaml:2: is not UTF-8 text"):
        load_signing_job(file)
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InvalidJobError, match="larger than 1 MiB"):
        load_signing_job(file)


def test_a_refusal_is_a_usage_error_with_a_next_step() -> None:
    with pytest.raises(InvalidJobError) as caught:
        parse_signing_job("a: 1", source="x")
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint


def job_named(name: str) -> str:
    return HEAD.replace("name: j", f"name: {name}") + RECORDS


def test_documents_of_a_file_are_jobs_in_their_order_and_empty_ones_are_left_out() -> None:
    text = f"---\n{job_named('first')}\n---\n---\n{job_named('second')}\n---\n# nothing\n"
    assert [job.metadata.name for job in parse_signing_jobs(text, source="x")] == ["first", "second"]


def test_problems_of_all_documents_are_named_with_the_lines_of_the_file() -> None:
    text = f"{job_named('same')}\n---\n{job_named('same')}\n---\nkind: Pod\n"
    with pytest.raises(InvalidJobError) as raised:
        parse_signing_jobs(text, source="x")
    first, second, *_ = raised.value.message.splitlines()
    line = text.count("\n", 0, text.rindex("same")) + 1
    assert first.startswith(f"x:{line}: metadata.name is that of a document before it")
    assert second.startswith(f"x:{text.count(chr(10))}: ")
