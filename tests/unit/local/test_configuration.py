import os
from pathlib import Path

import pytest

from vaultstream.local.nats import configuration
from vaultstream.local.postgres import choose_socket_dir, database_url, settings_text

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "home",
    [
        Path("/", *["deep"] * 30),
        Path("/home/with space/data"),
        Path("/home/ünï/data"),
        Path("/home/it's/data"),
        Path("/home/a,b/data"),
    ],
)
def test_a_socket_moves_where_its_own_place_is_too_long_or_odd(home: Path) -> None:
    chosen = choose_socket_dir(home, Path("/run/user/1"))
    assert chosen.parent == Path("/run/user/1")
    assert str(os.geteuid()) in chosen.name
    assert chosen == choose_socket_dir(home, Path("/run/user/1"))
    assert chosen != choose_socket_dir(home / "other", Path("/run/user/1"))


def test_a_socket_stays_with_its_data_where_it_can() -> None:
    assert choose_socket_dir(Path("/home/me/.vaultstream/postgres"), Path("/tmp")) == Path(
        "/home/me/.vaultstream/postgres/socket"
    )


def test_the_database_url_names_the_socket_not_a_host() -> None:
    assert database_url(Path("/run/pg")) == (
        "postgresql://postgres@/vaultstream?host=/run/pg&port=5432&options="
    )


@pytest.mark.parametrize(
    ("lz4", "expected"), [(True, "wal_compression = lz4"), (False, "wal_compression = on")]
)
def test_the_wal_is_compressed_by_what_the_server_can(lz4: bool, expected: str) -> None:
    assert expected in settings_text(Path("/run/pg"), lz4=lz4).splitlines()


def test_a_path_is_quoted_in_the_servers_configuration() -> None:
    text = configuration(port=1, name="n", store=Path('/a "b" ü'), pid_file=Path("/p"), password="secret")
    assert 'store_dir: "/a \\"b\\" ü"' in text
