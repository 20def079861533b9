"""Another kind of repository is a class: nothing else names the kinds that there are."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import pytest
from pydantic import SecretStr

from tenantry.base.errors import MachineError
from tenantry.base.secrets import Secret
from tenantry.base.setting_groups import BackupS3, Group
from tenantry.base.settings import Settings
from tenantry.pg import repositories
from tenantry.pg.repositories import LocalRepository, S3Repository, render
from tenantry.services import uninstalling
from tenantry.services.recovery.service import source_of
from tenantry.services.repository.service import Repositories

S3 = BackupS3(
    endpoint="https://s3.example.com", bucket="b", key=SecretStr("k"), secret=SecretStr("s")
)


class BackupVault(Group):
    account: str
    key: SecretStr


class Larger(Settings):
    backup_vault: BackupVault | None = None


@dataclass(frozen=True)
class VaultRepository:
    name: ClassVar[str] = "vault"
    account: str

    @classmethod
    def configured(cls, settings: Settings) -> Self | None:
        assert isinstance(settings, Larger)
        return None if settings.backup_vault is None else cls(settings.backup_vault.account)

    def options(self) -> dict[str, str]:
        return {"type": "azure", "azure-account": self.account}

    def __str__(self) -> str:
        return f"vault:{self.account}"


@pytest.fixture
def _another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repositories, "REMOTE_KINDS", (S3Repository, VaultRepository))


HOME = Path("/srv/tenantry")  # a temporary folder's name may be too long for one


def settings(*, vault: bool = True) -> Settings:
    given = BackupVault(account="ours", key=SecretStr("hidden")) if vault else None
    return Larger(home=HOME, engines=None, backup_s3=S3, backup_vault=given)


@pytest.mark.usefixtures("_another_kind")
def test_another_kind_is_used_like_the_others(tmp_path: Path) -> None:
    places = Repositories(settings()).places
    assert [type(place) for place in places] == [LocalRepository, S3Repository, VaultRepository]
    text = render("pgbackrest", tmp_path, dict(enumerate(places, start=1)), [], Secret("p"))
    assert "repo3-azure-account=ours\n" in text
    assert source_of(settings(), "vault") == VaultRepository("ours")
    assert str(source_of(settings(), "s3")) == "https://s3.example.com/b/tenantry"
    left = uninstalling.plan(settings(), []).left
    assert "vault:ours" in {each.what for each in left}


@pytest.mark.usefixtures("_another_kind")
def test_the_settings_that_it_needs_are_named() -> None:
    with pytest.raises(MachineError, match="no repository vault") as raised:
        source_of(settings(vault=False), "vault")
    assert raised.value.hint == "Set TENANTRY_BACKUP_VAULT_ACCOUNT, TENANTRY_BACKUP_VAULT_KEY."
    with pytest.raises(MachineError, match="is not a repository") as raised:
        source_of(settings(), "nowhere")
    assert raised.value.hint == "Name the folder that TENANTRY_BACKUP_DIR named, or s3 or vault."
