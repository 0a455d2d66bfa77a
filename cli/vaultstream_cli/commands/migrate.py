"""`vaultstream migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.local.services import open_services
from vaultstream.settings import Settings
from vaultstream.store import schema
from vaultstream.store.database import connect
from vaultstream.store.privileges import EVERY_PART
from vaultstream.store.roles import existing_roles
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import note, print_object
from vaultstream_cli.root import app


@command(app, "migrate", part=EVERY_PART)
async def migrate(
    settings: Settings,
    *,
    create_roles: Annotated[
        bool,
        typer.Option(
            "--create-roles",
            help="First create missing roles among vaultstream_operator, _keys, _records, _signing and _auditor. They are "
            "meant to be granted to users. Needs CREATEROLE.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Bring the database schema up to date in one transaction. Jobs keep running, and signatures are kept.

    Grants each of VaultStream's database roles exactly the privileges it needs, and skips roles that don't exist. Run it as
    the owner of the schema. The embedded database doesn't need it: every command brings that schema up to date.
    """
    async with open_services(settings, nats=False) as services, connect(services.database_url) as connection:
        before = await schema.migrate(connection, create_roles=create_roles)
        granted = await existing_roles(connection)
    now = schema.current_version()
    if json:
        print_object({"before": before, "now": max(before, now), "roles": granted})
        return
    if before > now:
        note(
            f"The schema is at version {before}, from a newer VaultStream. This version works with it; nothing was changed."
        )
    elif before == now:
        note(f"The schema is already at version {now}; its functions were replaced.")
    elif before == 0:
        note(f"The schema was created at version {now}.")
    else:
        note(f"The schema was migrated from version {before} to version {now}.")
    if granted and before <= now:
        note(f"Granted privileges to {', '.join(granted)}.")
