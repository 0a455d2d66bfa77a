"""The bundled Postgres and NATS run with the files from the chart, over TLS, and admit exactly the intended users."""

from __future__ import annotations

import asyncio
import json
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import nats
import nats.errors
import pytest

from support.bundled import BundledServices, postgres_folder
from support.chart import NAMESPACE, Rendered, render
from support.engine import make_spec
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.records import ConsumerLag, RecordsStream
from vaultstream.errors import BusError
from vaultstream.store import schema
from vaultstream.store.jobs import create_job

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(postgres_folder() is None, reason="no Postgres with TLS is installed here"),
]

TEAMS = ("team-a", "team-b")
ROLES = ("keys", "records", "signing")


@pytest.fixture(scope="module")
def chart() -> Rendered:
    return render("--set", f"jobNamespaces={{{','.join(TEAMS)}}}")


@pytest.fixture(scope="module")
def bundled(chart: Rendered) -> Iterator[BundledServices]:
    with tempfile.TemporaryDirectory(prefix="vaultstream-bundled-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        services = BundledServices(folder, chart)
        services.start_postgres()
        services.start_nats()
        try:
            asyncio.run(prepare(services))
            yield services
        finally:
            services.stop()


async def prepare(services: BundledServices) -> None:
    """Does what the operator's init containers do."""
    await eventually(services.is_ready, seconds=60)
    connection = await login(services, services.chart.secret("vaultstream-owner")["database-url"])
    await connection.execute("CREATE TABLE public.receipts (id bigint PRIMARY KEY, payload text)")
    await schema.migrate(connection, create_roles=True)
    await connection.close()
    services.make_logins()


def trusting(services: BundledServices) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(services.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default of newer Pythons
    return context


async def login(services: BundledServices, url: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        services.local(url).split("?", maxsplit=1)[0], ssl=trusting(services), timeout=10
    )


def address(services: BundledServices, secret: dict[str, str]) -> BusAddress:
    return BusAddress(
        services.local(secret["nats-url"]),
        secret["nats-user"],
        secret["nats-password"],
        ca_file=services.ca_file,
    )


@pytest.mark.parametrize("namespace", TEAMS)
@pytest.mark.parametrize("role", ROLES)
async def test_a_worker_logs_in_with_its_own_role_only(
    bundled: BundledServices, role: str, namespace: str
) -> None:
    connection = await login(bundled, bundled.chart.secret(f"vaultstream-{role}", namespace)["database-url"])
    try:
        assert await connection.fetchval("SELECT current_user::text") == f"vaultstream_{role}_{namespace}"
        groups = await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER') ORDER BY 1"
        )
        assert [row["rolname"] for row in groups] == [
            f"vaultstream_{role}",
            f"vaultstream_{role}_{namespace}",
            f"vaultstream_tenant_{namespace}",
        ]
        assert (
            await connection.fetchval("SELECT max(version) FROM vaultstream.schema_version")
            == schema.current_version()
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ROLES)
async def test_no_login_of_a_role_waits_for_a_lock_of_a_table_that_it_may_not_have(
    bundled: BundledServices, role: str
) -> None:
    secret = bundled.chart.secret(f"vaultstream-{role}", TEAMS[0])
    connection = await login(bundled, secret["database-url"])
    try:
        async with connection.transaction():
            with pytest.raises(
                asyncpg.InsufficientPrivilegeError, match="CREATE RULE is not for logins of VaultStream"
            ):
                await connection.execute("CREATE RULE r AS ON INSERT TO vaultstream.jobs DO INSTEAD NOTHING")
    finally:
        await connection.close()


async def readers(services: BundledServices, table: str) -> set[tuple[str, str, str]]:
    """Whose logins can read a table: the role of a Secret, its namespace, and the key of the URL."""
    found = set()
    for role, namespace in [*((role, team) for role in ROLES for team in TEAMS), ("auditor", NAMESPACE)]:
        secret = services.chart.secret(f"vaultstream-{role}", namespace)
        for key in secret.keys() & {"database-url", "source-database-url"}:
            connection = await login(services, secret[key])
            try:
                await connection.fetch(f"SELECT * FROM {table}")
                found.add((role, namespace, key))
            except asyncpg.InsufficientPrivilegeError:
                pass
            finally:
                await connection.close()
    return found


SOURCE = "source-database-url"
OF_ALL = {(role, team, SOURCE) for role in ("records", "signing") for team in TEAMS} | {
    ("auditor", NAMESPACE, SOURCE)
}
OF_TEAM_B = {each for each in OF_ALL if each[1] != "team-a"}


async def test_only_the_logins_for_it_read_tables_created_before_and_after_them(
    bundled: BundledServices,
) -> None:
    owner = await login(bundled, bundled.chart.secret("vaultstream-owner")["database-url"])
    await owner.execute("CREATE TABLE IF NOT EXISTS public.later (id bigint)")
    await owner.close()
    for table in ("receipts", "later"):
        assert await readers(bundled, f"public.{table}") == OF_ALL


async def test_only_the_source_login_of_a_namespace_can_read_its_schema(bundled: BundledServices) -> None:
    owner = await login(bundled, bundled.chart.secret("vaultstream-owner")["database-url"])
    await owner.execute("CREATE TABLE IF NOT EXISTS ns_team_b.salaries (id bigint PRIMARY KEY, payload text)")
    await owner.close()
    assert await readers(bundled, "ns_team_b.salaries") == OF_TEAM_B


async def test_an_upgrade_that_changes_no_login_alters_no_table_that_is_being_read(
    bundled: BundledServices,
) -> None:
    """Signers repeat a read during which its table or the table's schema was altered, also by a grant that is there already."""
    owner = await login(bundled, bundled.chart.secret("vaultstream-owner")["database-url"])
    await owner.execute("CREATE TABLE IF NOT EXISTS public.calm (id bigint)")
    await owner.execute("CREATE TABLE IF NOT EXISTS ns_team_a.calm (id bigint)")
    bundled.make_logins()
    altered = (
        "SELECT c.oid::regclass::text, c.xmin::text, n.xmin::text FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'public' OR n.nspname LIKE 'ns\\_%' ORDER BY 1"
    )
    before = await owner.fetch(altered)
    bundled.make_logins()
    assert await owner.fetch(altered) == before
    assert {row[0] for row in before} >= {"calm", "ns_team_a.calm"}
    await owner.close()


async def test_what_an_older_release_let_workers_read_is_taken_back(bundled: BundledServices) -> None:
    owner = await login(bundled, bundled.chart.secret("vaultstream-owner")["database-url"])
    await owner.execute(
        """
        CREATE TABLE IF NOT EXISTS ns_team_b.bonuses (id bigint);
        GRANT USAGE ON SCHEMA ns_team_b TO "vaultstream_signing_team-b", vaultstream_auditor;
        GRANT SELECT ON ns_team_b.bonuses TO "vaultstream_signing_team-b", vaultstream_auditor;
        ALTER DEFAULT PRIVILEGES IN SCHEMA ns_team_b
            GRANT SELECT ON TABLES TO "vaultstream_signing_team-b", vaultstream_auditor;
        GRANT SELECT ON public.receipts TO vaultstream_records, vaultstream_auditor;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO vaultstream_records, vaultstream_auditor;
        """
    )
    assert ("signing", "team-b", "database-url") in await readers(bundled, "ns_team_b.bonuses")
    assert ("records", "team-a", "database-url") in await readers(bundled, "public.receipts")
    bundled.make_logins()
    await owner.execute("CREATE TABLE ns_team_b.latest (id bigint)")
    await owner.close()
    for table in ("bonuses", "latest"):
        assert await readers(bundled, f"ns_team_b.{table}") == OF_TEAM_B
    assert await readers(bundled, "public.receipts") == OF_ALL


async def test_the_login_that_reads_records_has_no_privilege_in_the_schema_of_vaultstream(
    bundled: BundledServices,
) -> None:
    for role, namespace in [
        *((role, team) for role in ("records", "signing") for team in TEAMS),
        ("auditor", NAMESPACE),
    ]:
        secret = bundled.chart.secret(f"vaultstream-{role}", namespace)
        connection = await login(bundled, secret["source-database-url"])
        try:
            groups = await connection.fetch(
                "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER') ORDER BY rolname <> session_user"
            )
            name = f"vaultstream_source_{namespace}" if role != "auditor" else "vaultstream_auditor_source"
            assert [row["rolname"] for row in groups] == [name, "vaultstream_source"]
            assert not await connection.fetchval("SELECT has_schema_privilege('vaultstream', 'USAGE')")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("SELECT * FROM vaultstream.key_material")
            assert await connection.fetchval("SELECT has_table_privilege('public.receipts', 'SELECT')")
            assert not await connection.fetchval("SELECT has_table_privilege('public.receipts', 'INSERT')")
        finally:
            await connection.close()
    assert "source-database-url" not in bundled.chart.secret("vaultstream-keys", "team-a")


@pytest.mark.parametrize("role", ROLES)
async def test_the_workers_of_a_namespace_see_its_jobs_and_no_others(
    bundled: BundledServices, role: str
) -> None:
    names = {}
    await add_jobs(bundled)
    for namespace in TEAMS:
        url = bundled.chart.secret(f"vaultstream-{role}", namespace)["database-url"]
        connection = await login(bundled, url)
        names[namespace] = [
            row["name"] for row in await connection.fetch("SELECT name FROM vaultstream.jobs")
        ]
        await connection.close()
    assert names == {namespace: [f"{namespace}/nightly"] for namespace in TEAMS}


async def add_jobs(services: BundledServices) -> None:
    """Creates a job in each namespace and one outside of them, as the operator."""
    operator = await login(services, services.chart.secret("vaultstream-operator")["database-url"])
    await operator.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    table = "public.receipts"
    source = await operator.fetchval("SELECT $1::text::regclass::oid", table)
    for namespace in (*TEAMS, None):
        name = f"{namespace or 'elsewhere'}/nightly"
        if not await operator.fetchval("SELECT count(*) FROM vaultstream.jobs WHERE name = $1", name):
            await create_job(
                operator, name, make_spec(table), id_type="bigint", source_oid=source, tenant=namespace
            )
    assert await operator.fetchval("SELECT count(*) FROM vaultstream.jobs") == len(TEAMS) + 1
    await operator.close()


async def test_a_tenants_role_has_the_same_name_in_postgres_as_in_the_chart(bundled: BundledServices) -> None:
    owner = await login(bundled, bundled.chart.secret("vaultstream-owner")["database-url"])
    for namespace in ("team-a", "a-namespace-that-has-as-many-letters-as-a-namespace-may-have-no"):
        lines = (
            render("--set", f"jobNamespaces={{{namespace}}}")
            .one("ConfigMap", "vaultstream-postgres")["data"]["logins"]
            .splitlines()
        )
        roles = {line.split()[3] for line in lines if len(line.split()) > 3}
        assert roles == {await owner.fetchval("SELECT vaultstream.tenant_role($1)", namespace)}
    await owner.close()


async def test_nobody_logs_in_without_tls_and_the_superuser_never(bundled: BundledServices) -> None:
    url = bundled.local(bundled.chart.secret("vaultstream-owner")["database-url"]).split("?", maxsplit=1)[0]
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(url, ssl=False)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(url, user="postgres", ssl=trusting(bundled))
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url, password="wrong", ssl=trusting(bundled))


async def test_a_server_with_a_certificate_of_another_authority_is_not_trusted(
    bundled: BundledServices, tmp_path: Path
) -> None:
    stranger = tmp_path / "ca.crt"
    stranger.write_text(render().secret("vaultstream-ca")["ca.crt"])
    context = ssl.create_default_context(cafile=str(stranger))
    url = bundled.local(bundled.chart.secret("vaultstream-owner")["database-url"]).split("?", maxsplit=1)[0]
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncpg.connect(url, ssl=context, timeout=10)
    secret = bundled.chart.secret("vaultstream-operator")
    with pytest.raises(BusError, match="trusted"):
        async with connect_bus(
            BusAddress(
                bundled.local(secret["nats-url"]), "operator", secret["nats-password"], ca_file=stranger
            ),
            role="operator",
            attempts=1,
        ):
            pass


async def test_the_login_of_a_removed_namespace_is_locked_until_it_is_added_again(
    bundled: BundledServices,
) -> None:
    bundled.make_logins(without="team-b")
    for key in ("database-url", "source-database-url"):
        url = bundled.chart.secret("vaultstream-signing", "team-b")[key]
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="not permitted to log in"):
            await login(bundled, url)
        await (await login(bundled, bundled.chart.secret("vaultstream-signing", "team-a")[key])).close()
    bundled.make_logins()
    for key in ("database-url", "source-database-url"):
        await (await login(bundled, bundled.chart.secret("vaultstream-signing", "team-b")[key])).close()


async def test_creating_logins_again_changes_nothing_and_prints_nothing(bundled: BundledServices) -> None:
    done = bundled.make_logins()
    assert done.stdout + done.stderr == ""


async def test_operators_that_make_the_logins_at_once_all_succeed(bundled: BundledServices) -> None:
    done = await asyncio.gather(*(asyncio.to_thread(bundled.make_logins) for _ in range(4)))
    assert [each.stderr for each in done] == [""] * 4


async def test_the_owners_password_follows_its_secret(bundled: BundledServices) -> None:
    url = bundled.chart.secret("vaultstream-owner")["database-url"]
    former = bundled.passwords["postgres.owner"]
    try:
        bundled.stop("postgres")
        bundled.set_owner_password("it's new")
        bundled.start_postgres()
        await eventually(bundled.is_ready, seconds=60)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await login(bundled, url)
        await (await login(bundled, url.replace(former, "it%27s%20new"))).close()
    finally:
        bundled.stop("postgres")
        bundled.set_owner_password(former)
        bundled.start_postgres()
        await eventually(bundled.is_ready, seconds=60)
    await (await login(bundled, url)).close()


async def test_no_password_is_in_a_log(bundled: BundledServices) -> None:
    text = bundled.log("postgres") + bundled.log("nats")
    assert text
    assert not [key for key, password in bundled.passwords.items() if password in text]


@pytest.mark.parametrize("role", [*ROLES, "operator", "auditor"])
async def test_each_role_connects_to_nats_and_reads_only_its_own_inbox(
    bundled: BundledServices, role: str
) -> None:
    own = NAMESPACE if role in {"operator", "auditor"} else "team-a"
    secret = bundled.chart.secret(f"vaultstream-{role}", own)
    refused = asyncio.Event()

    async def on_error(error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            refused.set()

    async with connect_bus(address(bundled, secret), role=role, attempts=1) as bus:
        assert bus.client.is_connected
    client = await nats.connect(
        bundled.local(secret["nats-url"]),
        user=secret["nats-user"],
        password=secret["nats-password"],
        tls=trusting(bundled),
        error_cb=on_error,
    )
    try:
        await client.subscribe("_INBOX_someone_else.>")
        await asyncio.wait_for(refused.wait(), timeout=10)
    finally:
        await client.close()


async def test_each_namespace_has_streams_of_its_own_which_the_operator_reaches(
    bundled: BundledServices,
) -> None:
    for team, number in zip(TEAMS, (1, 2), strict=True):
        secret = bundled.chart.secret("vaultstream-records", team)
        assert secret["nats-user"] == f"records-{team}"
        async with connect_bus(address(bundled, secret), role="records", attempts=1) as bus:
            await RecordsStream(bus).ensure()
            await RecordsStream(bus).ensure_consumer("same", ack_wait_seconds=30, max_ack_pending=10)
            await RecordsStream(bus).publish("same", range(number))
    secret = bundled.chart.secret("vaultstream-operator")
    async with connect_bus(address(bundled, secret), role="operator", attempts=1) as bus:
        lags = [await RecordsStream(bus.of_tenant(team)).lag("same") for team in TEAMS]
        assert lags == [ConsumerLag(1, 0), ConsumerLag(2, 0)]
        assert await RecordsStream(bus).lag("same") is None
        await RecordsStream(bus.of_tenant("team-a")).remove("same")
        assert await RecordsStream(bus.of_tenant("team-b")).lag("same") == ConsumerLag(2, 0)


async def test_nats_refuses_a_wrong_password(bundled: BundledServices) -> None:
    secret = bundled.chart.secret("vaultstream-keys", "team-a") | {"nats-password": "wrong"}
    with pytest.raises(BusError, match="refuses"):
        async with connect_bus(address(bundled, secret), role="keys", attempts=1):
            pass
