"""``python -m tenantry.cli.control_schema``: the control database's schema during an upgrade.

``migrate`` migrates it to this code's. ``require VERSION`` fails unless code that knows migrations
up to this version works with it; ``--exactly`` if that code accepts no later ones. For root it
becomes the platform's user, as whom alone the control database lets it in.
"""

import argparse
import asyncio
import sys

from tenantry.base.errors import TenantryError
from tenantry.cli.entry_point import FAILED, local_settings
from tenantry.host import identity
from tenantry.services import control_schema
from tenantry.services.clusters.fleet import Fleet


def main() -> int:
    parser = argparse.ArgumentParser(description="Called by tenantry self-update.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate")
    require = commands.add_parser("require")
    require.add_argument("version", type=int)
    require.add_argument("--exactly", action="store_true")
    given = parser.parse_args()
    here = local_settings()
    identity.become_service_user()
    fleet = Fleet(here)
    try:
        if given.command == "migrate":
            asyncio.run(control_schema.ensure_control_schema(fleet))
        else:
            known, reads = given.version, not given.exactly
            asyncio.run(control_schema.require_works(fleet, known, reads_record=reads))
    except TenantryError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
