"""What an uninstall deletes and leaves, decided from the names in a home."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from tenantry.base.errors import Conflict
from tenantry.base.setting_groups import Backup, BackupS3
from tenantry.base.settings import Settings
from tenantry.services import uninstalling
from tenantry.services.uninstalling import plan

HOME = Path("/srv/home")
DATA = (
    *(
        "admin.key",
        "allowlists.sock",
        "backup.key",
        "backups",
        "ca.crt",
        "clusters",
        "edge",
        "engines",
        "logs",
    ),
    *("nftables.conf", "pgbackrest", "pooler", "reserve", "run", "scratch", "seal.key"),
    *("statements", "tls"),
)
PROGRAMS = (
    *("venv", "venv.lock", "venv-previous"),
    *("venv-0123456789abcdef", "venv-packages-0123456789abcdef"),
)
ADDITIONS = ("venv-edge", "venv-edge.new", "venv-edge-0123456789abcdef", "venv-embedder")


def left(removal: uninstalling.Removal) -> list[str]:
    return [each.what for each in removal.left]


def test_all_that_is_made_goes_the_programs_by_their_link_first() -> None:
    removal = plan(Settings(home=HOME, engines=None), [*PROGRAMS, *DATA])
    assert removal.data == [HOME / name for name in DATA]
    assert removal.programs == [HOME / name for name in PROGRAMS]
    assert removal.left == []


def test_programs_that_not_every_installation_has_go_too() -> None:
    removal = plan(Settings(home=HOME, engines=None), [*ADDITIONS, "venv-edges"])
    assert sorted(removal.programs) == sorted(HOME / name for name in ADDITIONS)
    assert left(removal) == ["/srv/home/venv-edges"]


def test_what_others_have_put_there_stays() -> None:
    removal = plan(
        Settings(home=HOME, engines=None), ["clusters", "tenantry.env", "venv-mine", "uninstalling"]
    )
    assert removal.data == [HOME / "clusters"]
    assert removal.programs == []
    assert left(removal) == ["/srv/home/tenantry.env", "/srv/home/venv-mine"]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (
            Settings(home=HOME, engines=None, backup=Backup(dir=Path("/mnt/backups"))),
            "/mnt/backups",
        ),
        (
            Settings(
                home=HOME,
                engines=None,
                backup_s3=BackupS3(
                    endpoint="https://s3.example.com",
                    bucket="b",
                    key=SecretStr("k"),
                    secret=SecretStr("s"),
                ),
            ),
            "https://s3.example.com/b/tenantry",
        ),
    ],
)
def test_backups_elsewhere_stay_with_their_key(settings: Settings, where: str) -> None:
    removal = plan(settings, ["backup.key", "backups"])
    assert removal.data == [HOME / "backups"]
    assert left(removal) == [where, "/srv/home/backup.key"]


def test_engines_elsewhere_do_not_keep_the_key() -> None:
    removal = plan(Settings(home=HOME, engines=Path("/opt/engines")), ["backup.key"])
    assert removal.data == [HOME / "backup.key"]
    assert left(removal) == ["/opt/engines"]


def test_what_is_half_gone_is_not_brought_up(tmp_path: Path) -> None:
    uninstalling.require_none_started(tmp_path)
    assert uninstalling.begin(tmp_path)
    assert not uninstalling.begin(tmp_path)
    with pytest.raises(Conflict, match="is being uninstalled"):
        uninstalling.require_none_started(tmp_path)
    uninstalling.give_up(tmp_path)
    uninstalling.require_none_started(tmp_path)


def test_the_mark_goes_through_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "uninstalling").symlink_to(elsewhere)
    uninstalling.begin(tmp_path)
    assert not elsewhere.exists()
