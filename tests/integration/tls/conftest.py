"""A certificate authority for these tests, and services with its certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from kube.certificates import Authority
from support.guarded import GuardedNats, guarded_nats, postgres_with_tls, tls_postgres


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def nats(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedNats]:
    """Reached as localhost; its certificate has no other name, and not its address."""
    pair = authority.issue("nats", "nats", hosts=["localhost"])
    with asyncio.Runner() as runner:
        guarded = guarded_nats(
            tmp_path_factory.mktemp("nats") / "home", pair=pair, ca_file=authority.pair.certificate
        )
        yield runner.run(guarded.__aenter__())
        runner.run(guarded.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def postgres_url(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The superuser's, with sslmode=verify-full. The embedded Postgres was built without OpenSSL: this is another."""
    if postgres_with_tls() is None:
        pytest.skip("no Postgres with OpenSSL: install the package postgresql of Debian or Ubuntu")
    pair = authority.issue("postgres", "postgres", hosts=["localhost"])
    with asyncio.Runner() as runner:
        running = tls_postgres(
            tmp_path_factory.mktemp("postgres") / "home", pair, ca_file=authority.pair.certificate
        )
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))
