"""A checkpoint is stamped by an authority that is not ours, and what is no valid timestamp of it is refused."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.timestamping import Authority
from vaultstream.errors import TimestampError, UsageError
from vaultstream.sealing.timestamp import TimestampAuthority, load_trusted, verify_timestamp

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, whose `ts` is the authority"),
]

CHECKPOINT = b"vaultstream-0123abcd\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\xe2\x80\x94 a b\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "one")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "two")


async def test_a_checkpoint_is_stamped_and_openssl_verifies_it(authority: Authority, tmp_path: Path) -> None:
    async with authority.serving() as url:
        stamped = await TimestampAuthority.load(url, authority.ca_file).stamp(CHECKPOINT)
    assert abs(datetime.now(UTC) - stamped.at) < timedelta(minutes=5)
    data, response = tmp_path / "checkpoint.stamped", tmp_path / "checkpoint.tsr"
    data.write_bytes(CHECKPOINT)
    response.write_bytes(stamped.response)
    assert authority.verifies(response, data)
    data.write_bytes(CHECKPOINT.replace(b"\n1\n", b"\n2\n"))
    assert not authority.verifies(response, data)

    trusted = load_trusted(authority.ca_file)
    assert verify_timestamp(stamped.response, CHECKPOINT, trusted) == stamped
    with pytest.raises(TimestampError):
        verify_timestamp(stamped.response, CHECKPOINT + b"x", trusted)


async def test_an_authority_that_is_not_trusted_is_refused(authority: Authority, other: Authority) -> None:
    async with other.serving() as url:
        with pytest.raises(TimestampError, match="not valid") as error:
            await TimestampAuthority.load(url, authority.ca_file).stamp(CHECKPOINT)
    assert error.value.hint


async def test_the_answer_to_an_earlier_request_is_refused(authority: Authority) -> None:
    """Its nonce is another one: an old answer can't be passed off as a new one."""
    async with authority.serving() as url:
        old = await TimestampAuthority.load(url, authority.ca_file).stamp(CHECKPOINT)
    async with authority.serving(altered=old.response) as url:
        with pytest.raises(TimestampError, match="Nonce"):
            await TimestampAuthority.load(url, authority.ca_file).stamp(CHECKPOINT)


@pytest.mark.parametrize("answer", [b"", b"\x30\x05\x30\x03\x02\x01\x02", b"<html>"])
async def test_an_answer_without_a_timestamp_is_refused(authority: Authority, answer: bytes) -> None:
    async with authority.serving(altered=answer) as url:
        with pytest.raises(TimestampError):
            await TimestampAuthority.load(url, authority.ca_file).stamp(CHECKPOINT)


async def test_an_authority_that_is_not_there_is_named(authority: Authority) -> None:
    async with authority.serving() as url:
        pass
    with pytest.raises(TimestampError, match=r"127\.0\.0\.1") as error:
        await TimestampAuthority.load(url, authority.ca_file).stamp(CHECKPOINT)
    assert error.value.hint


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_certificates_that_can_not_be_read_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"ca\.pem"):
        load_trusted(path)
