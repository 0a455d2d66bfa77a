"""`vaultstream migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.local.services import open_services
from vaultstream.settings import Settings
from vaultstream.store import schema
from vaultstream.store.database import connect
from vaultstream.store.roles import existing_roles
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import note, print_json


@command(app, "migrate")
async def migrate(
    settings: Settings,
    *,
    create_roles: Annotated[
        bool,
        typer.Option(
            "--create-roles",
            help="First make those of the roles vaultstream_operator, _keys, _records, _signing and _auditor that are "
            "missing, as roles to be granted to users. Needs the right CREATEROLE.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Bring the database's schema up to date, in one transaction; jobs go on, and signatures stay.

    Grants each of VaultStream's database roles what its part needs and nothing else; roles that are not there are passed
    over. Run it as the user that owns the schema. The embedded database needs no call of this: every command brings it up
    to date.
    """
    async with open_services(settings) as services, connect(services.database_url) as connection:
        before = await schema.migrate(connection, create_roles=create_roles)
        granted = await existing_roles(connection)
    now = schema.current_version()
    if json:
        print_json({"before": before, "now": max(before, now), "roles": granted})
        return
    if before > now:
        note(
            f"The schema is version {before}, of a newer VaultStream; this one works with it, and changed nothing."
        )
    elif before == now:
        note(f"The schema is version {now} already; its functions were renewed.")
    elif before == 0:
        note(f"The schema was made, at version {now}.")
    else:
        note(f"The schema was at version {before} and is now at version {now}.")
    if granted and before <= now:
        note(f"Granted what they need: {', '.join(granted)}.")
