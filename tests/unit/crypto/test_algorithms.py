from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import urlsafe_b64decode
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import (
    PrivateKey,
    algorithm_of,
    digest_signer,
    digest_verifier,
    generate_private_key,
    openssl_command,
    private_key_from_bytes,
    private_key_to_bytes,
    public_key_from_bytes,
    public_key_jwk,
    public_key_pem,
    public_key_to_bytes,
    signer,
    verifier,
)
from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.errors import CustodyError

pytestmark = pytest.mark.unit

every_algorithm = pytest.mark.parametrize("algorithm", list(Algorithm))
WITH_DIGEST = [Algorithm.ECDSA_P256_SHA256, Algorithm.RSA_PSS_3072_SHA256]

RFC_6979_A_2_5 = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC_8032_7_1_TEST_1 = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")


@cache
def a_key(algorithm: Algorithm) -> PrivateKey:
    return generate_private_key(algorithm)


def pkcs8(key: PrivateKey | x25519.X25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def unbase64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@every_algorithm
def test_a_key_written_and_read_again_signs_for_the_same_public_key(algorithm: Algorithm) -> None:
    again = private_key_from_bytes(private_key_to_bytes(a_key(algorithm)))
    public = public_key_from_bytes(public_key_to_bytes(a_key(algorithm)))
    signature = signer(again, algorithm)(b"payload")
    assert algorithm_of(again) is algorithm_of(public) is algorithm
    assert verifier(public, algorithm)(signature, b"payload")


@every_algorithm
def test_each_generated_key_is_another(algorithm: Algorithm) -> None:
    assert public_key_to_bytes(a_key(algorithm)) != public_key_to_bytes(generate_private_key(algorithm))


@every_algorithm
@pytest.mark.parametrize("payload", [b"", b"x", os.urandom(100_000)], ids=["empty", "a byte", "100 kB"])
def test_a_signature_holds_for_its_payload_and_no_other(algorithm: Algorithm, payload: bytes) -> None:
    verify = verifier(a_key(algorithm).public_key(), algorithm)
    signature = signer(a_key(algorithm), algorithm)(payload)
    assert verify(signature, payload)
    assert not verify(signature, payload + b"\0")


@every_algorithm
def test_a_signature_does_not_hold_under_another_key(algorithm: Algorithm) -> None:
    signature = signer(a_key(algorithm), algorithm)(b"payload")
    assert not verifier(generate_private_key(algorithm).public_key(), algorithm)(signature, b"payload")


@every_algorithm
def test_a_changed_byte_anywhere_breaks_a_signature(algorithm: Algorithm) -> None:
    verify = verifier(a_key(algorithm).public_key(), algorithm)
    signature = signer(a_key(algorithm), algorithm)(b"payload")
    for place in range(0, len(signature), max(1, len(signature) // 64)):
        changed = bytearray(signature)
        changed[place] ^= 0x01
        assert not verify(bytes(changed), b"payload"), place


@pytest.mark.parametrize("algorithm", WITH_DIGEST)
def test_a_digest_is_enough_to_check_ecdsa_and_rsa(algorithm: Algorithm) -> None:
    verify = digest_verifier(a_key(algorithm).public_key(), algorithm)
    assert verify is not None
    signature = signer(a_key(algorithm), algorithm)(b"payload")
    assert verify(signature, sha256(b"payload").digest())
    assert not verify(signature, sha256(b"another").digest())
    assert not verify(signature, b"no digest")


@pytest.mark.parametrize("algorithm", [Algorithm.ED25519, Algorithm.ML_DSA_65])
def test_ed25519_and_ml_dsa_have_no_check_from_the_digest(algorithm: Algorithm) -> None:
    assert digest_verifier(a_key(algorithm).public_key(), algorithm) is None


@pytest.mark.parametrize(
    ("message", "r", "s"),
    [
        (
            b"sample",
            0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
            0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
        ),
        (
            b"test",
            0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
            0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
        ),
    ],
)
def test_deterministic_ecdsa_gives_the_signatures_of_rfc_6979_with_a_low_s(
    message: bytes, r: int, s: int
) -> None:
    key = ec.derive_private_key(RFC_6979_A_2_5, ec.SECP256R1())
    sign = signer(key, Algorithm.ECDSA_P256_SHA256, deterministic=True)
    assert decode_dss_signature(sign(message)) == (r, min(s, P256_ORDER - s))
    assert sign(message) == sign(message)


@pytest.mark.parametrize("algorithm", [*WITH_DIGEST, Algorithm.ML_DSA_65])
def test_a_signature_is_another_each_time_unless_deterministic(algorithm: Algorithm) -> None:
    sign = signer(a_key(algorithm), algorithm)
    assert sign(b"payload") != sign(b"payload")


def test_ed25519_gives_the_signature_of_rfc_8032() -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(RFC_8032_7_1_TEST_1)
    assert signer(key, Algorithm.ED25519)(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )


@every_algorithm
def test_a_key_is_not_used_with_another_algorithm(algorithm: Algorithm) -> None:
    for other in set(Algorithm) - {algorithm}:
        with pytest.raises(CustodyError, match=f"is for {algorithm} and can't be used with {other}"):
            signer(a_key(algorithm), other)
        with pytest.raises(CustodyError):
            verifier(a_key(algorithm).public_key(), other)
        with pytest.raises(CustodyError):
            digest_verifier(a_key(algorithm).public_key(), other)
        with pytest.raises(CustodyError):
            public_key_jwk(public_key_to_bytes(a_key(algorithm)), key_id="k", algorithm=other)


@pytest.mark.parametrize(
    "foreign",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        x25519.X25519PrivateKey.generate(),
    ],
    ids=["P-384", "RSA-2048", "X25519"],
)
def test_a_key_of_another_algorithm_is_refused(foreign: PrivateKey) -> None:
    with pytest.raises(CustodyError):
        private_key_from_bytes(pkcs8(foreign))
    with pytest.raises(CustodyError):
        public_key_from_bytes(
            foreign.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )


@every_algorithm
def test_a_damaged_private_key_is_refused_without_showing_it(algorithm: Algorithm) -> None:
    data = private_key_to_bytes(a_key(algorithm))[:-1]
    with pytest.raises(CustodyError) as refused:
        private_key_from_bytes(data)
    assert refused.value.__cause__ is None
    assert refused.value.message == "The bytes given as a private key are not PKCS#8."


def spki(algorithm: bytes, key: bytes) -> bytes:
    return der(0x30, der(0x30, algorithm) + der(0x03, b"\0" + key))


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2)
    return bytes([tag]) + length + content


def rsa_spki(n: int, e: int) -> bytes:
    numbers = (der(0x02, number.to_bytes(number.bit_length() // 8 + 1)) for number in (n, e))
    return spki(bytes.fromhex("06092a864886f70d0101010500"), der(0x30, b"".join(numbers)))


def p256_spki(point: bytes) -> bytes:
    return spki(bytes.fromhex("06072a8648ce3d020106082a8648ce3d030107"), point)


def test_the_forms_of_public_keys_made_here_are_read() -> None:
    key = a_key(Algorithm.RSA_PSS_3072_SHA256).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    public_key_from_bytes(rsa_spki(key.public_numbers().n, 65537))
    point = a_key(Algorithm.ECDSA_P256_SHA256).public_key()
    assert isinstance(point, ec.EllipticCurvePublicKey)
    public_key_from_bytes(p256_spki(point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 17, 65539, (1 << 64) + 1])
def test_an_rsa_key_with_another_exponent_is_refused(exponent: int) -> None:
    key = a_key(Algorithm.RSA_PSS_3072_SHA256).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    with pytest.raises(CustodyError):
        public_key_from_bytes(rsa_spki(key.public_numbers().n, exponent))


@pytest.mark.parametrize("modulus", [(1 << 3071) + 2, (1 << 2047) + 1, (1 << 3072) + 1])
def test_an_rsa_key_with_an_even_modulus_or_of_another_size_is_refused(modulus: int) -> None:
    with pytest.raises(CustodyError):
        public_key_from_bytes(rsa_spki(modulus, 65537))


@pytest.mark.parametrize(
    "point",
    [b"\0", b"\4" + bytes(64), b"\4" + bytes(63) + b"\1"],
    ids=["infinity", "the origin", "off the curve"],
)
def test_a_p256_key_that_is_no_point_of_the_curve_is_refused(point: bytes) -> None:
    with pytest.raises(CustodyError):
        public_key_from_bytes(p256_spki(point))


def test_a_private_key_whose_public_half_is_another_s_is_refused() -> None:
    ours, theirs = (generate_private_key(Algorithm.ECDSA_P256_SHA256) for _ in range(2))
    points = [
        key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in (ours, theirs)
    ]
    data = private_key_to_bytes(ours)
    assert points[0] in data
    with pytest.raises(CustodyError):
        private_key_from_bytes(data.replace(*points))


@every_algorithm
def test_pem_is_the_same_key_in_another_form(algorithm: Algorithm) -> None:
    spki = public_key_to_bytes(a_key(algorithm))
    pem = public_key_pem(spki)
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    again = load_pem_public_key(pem.encode())
    assert again.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki


@every_algorithm
def test_a_jwk_says_what_the_key_is_for_and_holds_no_private_member(algorithm: Algorithm) -> None:
    jwk = public_key_jwk(public_key_to_bytes(a_key(algorithm)), key_id="key-7", algorithm=algorithm)
    assert (jwk["use"], jwk["kid"]) == ("sig", "key-7")
    assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "priv"} & jwk.keys()
    assert json.loads(json.dumps(jwk)) == jwk


def test_the_jwk_of_a_p256_key_is_that_of_rfc_7517() -> None:
    d = int.from_bytes(unbase64url("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"))
    spki = public_key_to_bytes(ec.derive_private_key(d, ec.SECP256R1()))
    assert public_key_jwk(spki, key_id="1", algorithm=Algorithm.ECDSA_P256_SHA256) == {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "use": "sig",
        "key_ops": ["verify"],
        "kid": "1",
        "alg": "ES256",
    }


def test_a_p256_coordinate_keeps_its_leading_zeros_in_a_jwk() -> None:
    short = next(
        key
        for key in (ec.derive_private_key(n, ec.SECP256R1()) for n in range(1, 10_000))
        if key.public_key().public_numbers().x < 1 << 248
    )
    jwk = public_key_jwk(public_key_to_bytes(short), key_id="1", algorithm=Algorithm.ECDSA_P256_SHA256)
    assert len(unbase64url(jwk["x"])) == 32


def test_the_jwk_of_an_ed25519_key_is_that_of_rfc_8037() -> None:
    spki = public_key_to_bytes(ed25519.Ed25519PrivateKey.from_private_bytes(RFC_8032_7_1_TEST_1))
    jwk = public_key_jwk(spki, key_id="1", algorithm=Algorithm.ED25519)
    assert (jwk["kty"], jwk["crv"], jwk["alg"]) == ("OKP", "Ed25519", "EdDSA")
    assert jwk["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


def test_the_jwk_of_an_rsa_key_gives_the_key_back() -> None:
    spki = public_key_to_bytes(a_key(Algorithm.RSA_PSS_3072_SHA256))
    jwk = public_key_jwk(spki, key_id="1", algorithm=Algorithm.RSA_PSS_3072_SHA256)
    n, e = (int.from_bytes(unbase64url(jwk[member])) for member in ("n", "e"))
    again = rsa.RSAPublicNumbers(e, n).public_key()
    assert (jwk["kty"], jwk["alg"], jwk["e"]) == ("RSA", "PS256", "AQAB")
    assert again.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki


def test_the_jwk_of_an_ml_dsa_key_gives_the_key_back() -> None:
    spki = public_key_to_bytes(a_key(Algorithm.ML_DSA_65))
    jwk = public_key_jwk(spki, key_id="1", algorithm=Algorithm.ML_DSA_65)
    again = mldsa.MLDSA65PublicKey.from_public_bytes(unbase64url(jwk["pub"]))
    assert (jwk["kty"], jwk["alg"]) == ("AKP", "ML-DSA-65")
    assert again.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki


@pytest.mark.parametrize(
    ("algorithm", "command"),
    [
        (Algorithm.ECDSA_P256_SHA256, "openssl dgst -sha256 -verify k.pem -signature 's 1' p"),
        (Algorithm.ED25519, "openssl pkeyutl -verify -pubin -inkey k.pem -rawin -in p -sigfile 's 1'"),
        (
            Algorithm.RSA_PSS_3072_SHA256,
            (
                "openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 "
                "-verify k.pem -signature 's 1' p"
            ),
        ),
        (Algorithm.ML_DSA_65, "openssl pkeyutl -verify -pubin -inkey k.pem -rawin -in p -sigfile 's 1'"),
    ],
)
def test_the_openssl_command_is_ready_to_paste(algorithm: Algorithm, command: str) -> None:
    assert openssl_command(algorithm, public="k.pem", signature="s 1", payload="p") == command


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@every_algorithm
def test_openssl_alone_accepts_a_signature_and_refuses_it_for_another_payload(
    algorithm: Algorithm, tmp_path: Path
) -> None:
    if algorithm is Algorithm.ML_DSA_65:
        known = subprocess.run(["openssl", "list", "-signature-algorithms"], capture_output=True, check=True)
        if b"ML-DSA-65" not in known.stdout:
            pytest.skip("this openssl is older than 3.5 and knows no ML-DSA")
    folder = tmp_path / "it's a folder; with $(odd) names"
    folder.mkdir()
    public, signature, payload = (folder / name for name in ("public key.pem", "a.sig", "a payload"))
    public.write_text(public_key_pem(public_key_to_bytes(a_key(algorithm))))
    payload.write_bytes(b"a payload\0\xff\n")
    signature.write_bytes(signer(a_key(algorithm), algorithm)(payload.read_bytes()))
    command = openssl_command(algorithm, public=str(public), signature=str(signature), payload=str(payload))

    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    payload.write_bytes(b"another payload")
    assert subprocess.run(["sh", "-c", command], check=False).returncode != 0


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("payload", [b"", b"payload", bytes(5000)])
def test_payloads_given_with_their_digests_are_signed_as_without(
    algorithm: Algorithm, payload: bytes
) -> None:
    key, payloads = a_key(algorithm), [payload, b"another", payload]
    signatures = digest_signer(key, algorithm)(payloads, [sha256(each).digest() for each in payloads])
    verify = verifier(key.public_key(), algorithm)
    assert [verify(*each) for each in zip(signatures, payloads, strict=True)] == [True, True, True]
    assert not verify(signatures[0], payloads[1])
