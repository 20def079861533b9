"""Results that are kept for repeated requests: whole, and without a secret in them."""

import datetime as dt
import json
import uuid
from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter

from database_rows import database_row
from tenantry.base.errors import Conflict
from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.roles import RoleRow
from tenantry.services.databases.model import Opened
from tenantry.services.provisioning.model import Provisioned
from tenantry.services.requests import results
from tenantry.services.roles.model import OpenedRole, Role

SOURCE = SecretSource()


def role_of(source: SecretSource, number: int) -> OpenedRole:
    now = dt.datetime.now(dt.UTC)
    database = database_row()
    row = RoleRow(
        uuid.uuid4(),
        database.id,
        "app",
        "user_x_app",
        "read_only",
        5,
        "active",
        None,
        now,
        now,
        now,
    )
    return OpenedRole(Role(database, row), source.role_password(number))


def test_a_result_is_read_as_it_was_written() -> None:
    opened = Opened(database_row(), SOURCE.password())
    made = Provisioned(opened, [role_of(SOURCE, 0), role_of(SOURCE, 1)])
    text = results.write(Provisioned, made, SOURCE)
    assert results.read(Provisioned, text, SOURCE) == made
    for secret in (opened.password, *(each.password for each in made.roles)):
        assert secret.reveal() not in text


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (Secret, SOURCE.totp_secret()),
        (list[Secret], SOURCE.recovery_codes()),
        (tuple[str, Secret | None], ("ann", SOURCE.api_key())),
        (tuple[str, Secret | None], ("ann", None)),
    ],
)
def test_secrets_are_kept_by_name_and_made_again(kind: type[object], result: object) -> None:
    assert results.read(kind, results.write(kind, result, SOURCE), SOURCE) == result


def test_a_secret_of_another_source_is_not_kept() -> None:
    with pytest.raises(Exception, match="cannot be kept"):
        results.write(Secret, Secret("hunter2"), SOURCE)
    with pytest.raises(Exception, match="cannot be kept"):
        results.write(Secret, SecretSource().password(), SOURCE)


def test_a_secret_is_never_json_by_itself() -> None:
    with pytest.raises(Exception, match="as its source names it"):
        TypeAdapter(Secret).dump_json(SOURCE.password())


@dataclass(frozen=True)
class Later:
    """What the next version of a result may be."""

    name: str
    since: int


def test_a_result_of_another_version_is_a_conflict() -> None:
    for text in (json.dumps({"name": "ann"}), '{"success": true, "data": {}}', "no JSON"):
        with pytest.raises(Conflict, match="another version"):
            results.read(Later, text, SOURCE)
