"""`vaultstream migrate`."""

from __future__ import annotations

from vaultstream.local.services import open_services
from vaultstream.settings import Settings
from vaultstream.store import schema
from vaultstream.store.database import connect
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import note, print_json


@command(app, "migrate")
async def migrate(settings: Settings, *, json: Json = False) -> None:
    """Bring the database's schema up to date, in one transaction; jobs and signatures stay.

    The embedded database needs no call of this: every command brings it up to date. Let running jobs end first.
    """
    async with open_services(settings) as services, connect(services.database_url) as connection:
        before = await schema.migrate(connection)
    now = schema.current_version()
    if json:
        print_json({"before": before, "now": now})
    elif before == now:
        note(f"The schema is version {now} already; its functions were renewed.")
    elif before == 0:
        note(f"The schema was made, at version {now}.")
    else:
        note(f"The schema was at version {before} and is now at version {now}.")
