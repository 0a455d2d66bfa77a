from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from support.native import rows_of
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import generate_private_key, private_key_to_bytes, verifier
from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.crypto.multibuffer import Multibuffer, NativeKey, _decide, multibuffer, why_not
from vaultstream.crypto.multibuffer_signer import Ed25519MultibufferSigner
from vaultstream.crypto.self_test import self_test
from vaultstream.errors import SigningFaultError
from vaultstream.settings import MULTIBUFFER, load_settings

pytestmark = pytest.mark.unit

SCALAR = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
OUT_OF_RANGE = [0, P256_ORDER, P256_ORDER + 1, 2**256 - 1]

# RFC 6979, appendix A.2.5, with SHA-256: a message, its nonce, r, s.
VECTORS = [
    (
        b"sample",
        0xA6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60,
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    (
        b"test",
        0xD16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0,
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
]


@pytest.mark.parametrize(("message", "nonce", "r", "s"), VECTORS, ids=["sample", "test"])
def test_a_given_nonce_makes_the_signature_of_rfc_6979_with_the_low_s(
    native: Multibuffer, message: bytes, nonce: int, r: int, s: int
) -> None:
    answer = native.known_answer(SCALAR, nonce.to_bytes(32), sha256(message).digest())
    assert answer == encode_dss_signature(r, min(s, P256_ORDER - s))


@pytest.mark.parametrize("nonce", OUT_OF_RANGE)
def test_a_nonce_out_of_range_is_refused(native: Multibuffer, nonce: int) -> None:
    with pytest.raises(ValueError, match="nonce"):
        native.known_answer(SCALAR, nonce.to_bytes(32), bytes(32))


@pytest.mark.parametrize("scalar", OUT_OF_RANGE)
def test_a_scalar_out_of_range_is_no_key(native: Multibuffer, scalar: int) -> None:
    with pytest.raises(ValueError, match="order"):
        native.Key(scalar.to_bytes(32))
    with pytest.raises(ValueError, match="scalar"):
        native.known_answer(scalar.to_bytes(32), SCALAR, bytes(32))


def test_a_key_can_not_be_read_copied_pickled_or_derived_from(native: Multibuffer) -> None:
    key = native.Key(SCALAR)
    for spy in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="can't be pickled or copied"):
            spy(key)
    assert SCALAR.hex() not in repr(key)
    assert {name for name in dir(key) if not name.startswith("__")} == set()
    with pytest.raises(TypeError, match="buffer"):
        memoryview(key)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Spy", (native.Key,), {})


def test_messages_are_signed_in_place_of_the_payloads_whose_digests_are_in_the_rows(
    native: Multibuffer,
) -> None:
    payloads = [b"payload %d" % i for i in range(11)]
    messages = [b"message %d" % i for i in range(11)]
    is_valid = verifier(
        derive_private_key(int.from_bytes(SCALAR), SECP256R1()).public_key(), Algorithm.ECDSA_P256_SHA256
    )
    rows = rows_of(native.sign([native.Key(SCALAR)], [11], payloads, messages, 128), 128)
    assert [digest for digest, _ in rows] == [sha256(payload).digest() for payload in payloads]
    assert all(is_valid(signature, message) for (_, signature), message in zip(rows, messages, strict=True))


@pytest.mark.parametrize(
    ("keys", "counts", "payloads", "messages", "width"),
    [
        (1, [1], [b"a"], None, 104),
        (1, [1], [b"a"], None, 65537),
        (1, [1], [b"a"], None, -1),
        (1, [2], [b"a"], None, 105),
        (1, [0], [b"a"], None, 105),
        (1, [-1], [b"a"], None, 105),
        (2, [2, -1], [b"a"], None, 105),
        (2, [1], [b"a"], None, 105),
        (1, [1, 1], [b"a", b"b"], None, 105),
        (0, [], [b"a"], None, 105),
        (2, [2**63 - 1, 2], [b"a"], None, 105),
        (1, [1], [b"a"], [], 105),
        (1, [1], [b"a"], [b"b", b"c"], 105),
    ],
)
def test_numbers_of_arguments_that_do_not_fit_are_refused(
    native: Multibuffer,
    *,
    keys: int,
    counts: list[int],
    payloads: list[bytes],
    messages: list[bytes] | None,
    width: int,
) -> None:
    with pytest.raises(ValueError, match=r"width|count|messages"):
        native.sign([native.Key(SCALAR)] * keys, counts, payloads, messages, width)


@pytest.mark.parametrize(
    ("keys", "counts", "payloads", "messages"),
    [
        ([SCALAR], [1], [b"a"], None),
        ([None], [1], [b"a"], None),
        ("key", [1], ["a"], None),
        ("key", [1], [bytearray(b"a")], None),
        ("key", [1], [b"a"], [None]),
        ("key", ["1"], [b"a"], None),
        ("key", [1.0], [b"a"], None),
        ("key", None, [b"a"], None),
        ("key", [1], None, None),
        (None, [1], [b"a"], None),
    ],
)
def test_arguments_of_other_types_are_refused(
    native: Multibuffer, keys: object, counts: object, payloads: object, messages: object
) -> None:
    of = [native.Key(SCALAR)] if keys == "key" else keys
    with pytest.raises(TypeError):
        native.sign(of, counts, payloads, messages, 105)  # type: ignore[arg-type]


def test_a_call_without_payloads_returns_no_row(native: Multibuffer) -> None:
    assert native.sign([], [], [], None, 105) == b""
    assert native.sign([native.Key(SCALAR)], [0], [], [], 105) == b""


def test_the_self_test_passes_and_the_extension_is_used(native: Multibuffer) -> None:
    assert self_test(native) == ""
    assert multibuffer() is native
    assert why_not() == ""


class Faulty:
    """The extension, with one function that answers something else."""

    def __init__(self, native: Multibuffer, name: str, answer: Callable[..., object]) -> None:
        self._native = native
        setattr(self, name, answer)

    def __getattr__(self, name: str) -> object:
        return getattr(self._native, name)


@pytest.mark.parametrize("longest", [55, 64, 119, 256])
def test_the_self_test_finds_wrong_digests_of_payloads_that_are_longer(
    native: Multibuffer, longest: int
) -> None:
    def wrong(payloads: Sequence[bytes]) -> list[bytes]:
        return native.sha256([payload[:longest] for payload in payloads])

    assert "SHA-256" in self_test(cast("Multibuffer", Faulty(native, "sha256", wrong)))


@pytest.mark.parametrize("form", ["payloads", "messages"])
@pytest.mark.parametrize("key", ["Key", "Ed25519Key"])
def test_the_self_test_finds_what_is_wrong_with_long_payloads_or_messages(
    native: Multibuffer, form: str, key: str
) -> None:
    def wrong(
        keys: Sequence[NativeKey],
        counts: Sequence[int],
        payloads: Sequence[bytes],
        messages: Sequence[bytes] | None,
        width: int,
    ) -> bytes:
        if type(keys[0]).__name__ == key:
            if form == "messages":
                messages = messages and [message[:256] for message in messages]
            else:
                payloads = [payload[:256] for payload in payloads]
        return native.sign(keys, counts, payloads, messages, width)

    assert self_test(cast("Multibuffer", Faulty(native, "sign", wrong)))


@pytest.mark.parametrize("count", [*range(10), 20])
def test_the_self_test_finds_a_wrong_root_of_a_batch_of_each_size(native: Multibuffer, count: int) -> None:
    def wrong(ids: Sequence[Sequence[int | str]], rows: Sequence[bytes], width: int) -> list[bytes]:
        right = native.roots(ids, rows, width)
        return [bytes(32) if len(own) == count else root for own, root in zip(ids, right, strict=True)]

    def wrong_of_lists(
        ids: Sequence[int | str], digests: Sequence[bytes], signatures: Sequence[bytes]
    ) -> bytes:
        return bytes(32) if len(ids) == count else native.root(ids, digests, signatures)

    assert "root" in self_test(cast("Multibuffer", Faulty(native, "roots", wrong)))
    assert "root" in self_test(cast("Multibuffer", Faulty(native, "root", wrong_of_lists)))


@pytest.mark.parametrize("answer", [True, False])
def test_the_self_test_finds_a_prefix_that_is_always_or_never_there(
    native: Multibuffer, answer: bool
) -> None:
    faulty = Faulty(native, "any_begins", lambda _payloads, _prefix: answer)
    assert "beginning" in self_test(cast("Multibuffer", faulty))


WORKER = """
import sys, types
from vaultstream.crypto.multibuffer import multibuffer, why_not
from vaultstream.roles import run_worker

async def run(settings, job):
    assert multibuffer() is None
    print(settings.multibuffer, why_not())

sys.modules["vaultstream.signing.worker"] = types.SimpleNamespace(run_signing_worker=run)
sys.exit(run_worker("signing", "job"))
"""


@pytest.mark.parametrize("name", ["VAULTSTREAM_MULTIBUFFER", "vaultstream_multibuffer"])
def test_a_worker_whose_settings_say_off_does_without_the_extension(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key.lower() != name.lower()}
    ran = subprocess.run(
        [sys.executable, "-c", WORKER],
        check=False, capture_output=True, text=True, timeout=60, env={**environment, name: "off"},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "off VAULTSTREAM_MULTIBUFFER is off.\n"), ran.stderr


@pytest.fixture
def decided_again() -> Iterator[None]:
    _decide.cache_clear()
    yield
    _decide.cache_clear()


@pytest.mark.usefixtures("decided_again")
@pytest.mark.parametrize("value", ["off", "auto"])
def test_what_a_command_decides_is_what_its_settings_say(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(MULTIBUFFER, "")  # so that what the settings write is taken back
    monkeypatch.delenv(MULTIBUFFER)
    monkeypatch.setenv(MULTIBUFFER.lower(), value)
    settings = load_settings()
    settings.set_environment()
    assert settings.multibuffer == value
    assert (why_not() == f"{MULTIBUFFER} is off.") == (value == "off")


def test_a_key_of_ed25519_is_opened_with_its_own_public_key_alone(native: Multibuffer) -> None:
    one, other = (generate_private_key(Algorithm.ED25519) for _ in range(2))
    signer = Ed25519MultibufferSigner(native)
    assert signer.open(one, private_key_to_bytes(one))
    with pytest.raises((ValueError, SigningFaultError), match="another public key"):
        signer.open(other, private_key_to_bytes(one))
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            native.Ed25519Key(SCALAR, bytes(length))


def test_keys_take_no_keywords(native: Multibuffer) -> None:
    with pytest.raises(TypeError, match="keyword"):
        native.Key(SCALAR, anything=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="keyword"):
        native.Ed25519Key(SCALAR, bytes(32), anything=5)  # type: ignore[call-arg]
