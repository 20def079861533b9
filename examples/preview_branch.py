"""A database for each pull request: a branch of another one, with the pull request's migrations.

    python examples/preview_branch.py create shop pr-7 --migrations migrations
    python examples/preview_branch.py delete shop pr-7

`create` prints the connection string, and nothing else, on standard output; for a branch that is
there already it sets a new password, and runs the migrations that are new. TENANTRY_URL and
TENANTRY_API_KEY name the platform, as for the command line.
"""

import argparse
import sys
from pathlib import Path

from tenantry_client import Client, TenantryError
from tenantry_client.models import Database

DAYS = 7  # until a branch is deleted that nobody has deleted


def find(client: Client, name: str) -> Database:
    """Return the database of this name. Raises SystemExit if there is none, or several."""
    found = [each for each in client.databases.list(search=name) if each["name"] == name]
    if len(found) != 1:
        sys.exit(f"{len(found)} databases are called {name}, and one has to be.")
    return found[0]


def find_branch(client: Client, parent: Database, name: str) -> Database | None:
    branches = client.branches.list(parent["id"])
    return next((each for each in branches if each["name"] == name), None)


def create(client: Client, parent: Database, name: str, migrations: Path | None) -> str:
    """Return the connection string of a branch that is migrated."""
    branch = find_branch(client, parent, name)
    if branch is None:
        wanted = client.branches.create(
            parent["id"], {"name": name, "expires_in": DAYS * 24 * 3600}
        )
        client.wait(wanted["operation"]["id"])
        identifier, url = wanted["id"], wanted["connection_string"]
    else:
        identifier = branch["id"]
        url = client.databases.rotate_password(identifier)["connection_string"]
    if migrations is not None:
        files = sorted(migrations.glob("*.sql"))
        started = client.migrations.run(
            identifier,
            {"files": [{"name": each.name, "sql": each.read_text()} for each in files]},
        )
        client.wait(started["id"])
    return url


def main() -> None:
    parser = argparse.ArgumentParser(description="A database for each pull request.")
    parser.add_argument("action", choices=["create", "delete"])
    parser.add_argument("database", help="the name of the database to branch")
    parser.add_argument("branch", help="such as pr-7")
    parser.add_argument("--migrations", type=Path, help="a folder as golang-migrate has it")
    asked = parser.parse_args()
    try:
        with Client() as client:
            parent = find(client, asked.database)
            if asked.action == "create":
                print(create(client, parent, asked.branch, asked.migrations))
            elif (branch := find_branch(client, parent, asked.branch)) is not None:
                client.databases.delete(branch["id"])
    except (TenantryError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
