"""The operations of the API, a class for each group of them.

Generated from the OpenAPI document by generator/generate.py: do not edit.
"""

import builtins
from collections.abc import AsyncIterator
from typing import Any, Literal

from tenantry_client import exchange, models
from tenantry_client.exchange import Request, AsyncSender, segment


class _Group:
    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender


class Advice(_Group):
    async def advice(
        self,
        identifier: str,
        *,
        muted: bool | None = None,
    ) -> builtins.list[models.Finding]:
        """List what is wrong with the database and what to do, the most severe first."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/advice",
            repeatable=True,
            query={"muted": muted},
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.Finding] = exchange.data(response)
        return answer

    async def mute(
        self,
        identifier: str,
        body: models.MuteAdvice,
        *,
        idempotency_key: str | None = None,
    ) -> models.Muting:
        """Mute a finding: it is listed with ``muted=true`` only."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/advice/mutes",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Muting = exchange.data(response)
        return answer

    async def unmute(
        self,
        identifier: str,
        *,
        code: Literal["unindexed_foreign_key", "missing_index", "unused_index", "duplicate_index", "invalid_index", "no_primary_key", "sequence_exhaustion", "transaction_id_age", "long_transaction", "idle_in_transaction", "stale_statistics", "bloat", "settings", "policy_per_row", "row_security_disabled", "pool_too_small", "cache_too_small"],
        object: str,
    ) -> models.Muting:
        """Report a muted finding again."""
        request = Request(
            "DELETE",
            f"/api/databases/{segment(identifier)}/advice/mutes",
            query={"code": code, "object": object},
        )
        response = await self._sender.send(request)
        answer: models.Muting = exchange.data(response)
        return answer


class Alerts(_Group):
    def list(
        self,
        *,
        state: Literal["pending", "firing", "resolved"] | None = None,
        rule: str | None = None,
        severity: Literal["warning", "critical"] | None = None,
        limit: int | None = None,
        database_id: str | None = None,
    ) -> AsyncIterator[models.Alert]:
        """List alerts, the newest first. Customers see those of their databases."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                "/api/alerts",
                repeatable=True,
                query={"state": state, "rule": rule, "severity": severity, "limit": limit, "database_id": database_id, "cursor": cursor},
            )
        )

    async def acknowledge(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Alert:
        """Record that somebody attends to an alert."""
        request = exchange.post(
            f"/api/alerts/{segment(identifier)}/acknowledge",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.Alert = exchange.data(response)
        return answer

    async def mute(
        self,
        identifier: str,
        body: models.Mute,
        *,
        idempotency_key: str | None = None,
    ) -> models.Alert:
        """Send nothing about the alert's rule and subject until then; a past moment ends that."""
        request = exchange.post(
            f"/api/alerts/{segment(identifier)}/mute",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Alert = exchange.data(response)
        return answer

    async def resolve(self, identifier: str, *, idempotency_key: str | None = None) -> models.Alert:
        """Resolve a firing alert by hand. It fires again only once its condition was gone."""
        request = exchange.post(f"/api/alerts/{segment(identifier)}/resolve", key=idempotency_key)
        response = await self._sender.send(request)
        answer: models.Alert = exchange.data(response)
        return answer

    async def channels(self) -> builtins.list[models.Channel]:
        """List the channels of the platform, or of the caller's customer, without their secrets."""
        request = Request("GET", "/api/alerts/channels", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Channel] = exchange.data(response)
        return answer

    async def create_channel(
        self,
        body: models.CreateChannel,
        *,
        idempotency_key: str | None = None,
    ) -> models.NewChannel:
        """Create a channel. The key of a webhook's signatures is shown only in this answer."""
        request = exchange.post("/api/alerts/channels", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.NewChannel = exchange.data(response)
        return answer

    async def delete_channel(self, identifier: str) -> models.Channel:
        """Delete a channel, with the messages that wait for it."""
        request = Request("DELETE", f"/api/alerts/channels/{segment(identifier)}")
        response = await self._sender.send(request)
        answer: models.Channel = exchange.data(response)
        return answer

    async def test_channel(self, identifier: str) -> models.Channel:
        """Send a test message now. The answer says whether the channel accepted it."""
        request = Request("POST", f"/api/alerts/channels/{segment(identifier)}/test")
        response = await self._sender.send(request)
        answer: models.Channel = exchange.data(response)
        return answer

    async def settings(self, identifier: str) -> models.AlertSettings:
        """Return the database's own thresholds of alerts; null means the platform's."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/alerts/settings",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: models.AlertSettings = exchange.data(response)
        return answer

    async def change_settings(
        self,
        identifier: str,
        body: models.SetThresholds,
    ) -> models.AlertSettings:
        """Replace the database's own thresholds of alerts."""
        request = Request(
            "PUT",
            f"/api/databases/{segment(identifier)}/alerts/settings",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.AlertSettings = exchange.data(response)
        return answer


class Audit(_Group):
    def list(
        self,
        *,
        limit: int | None = None,
        action: str | None = None,
        resource_id: str | None = None,
        actor: str | None = None,
        result: Literal["ok", "accepted", "refused", "failed"] | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> AsyncIterator[models.AuditEntry]:
        """List changes and refusals, newest first, each with its actor, action, target and
        result.
        """
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                "/api/audit-logs",
                repeatable=True,
                query={"limit": limit, "action": action, "resource_id": resource_id, "actor": actor, "result": result, "since": since, "until": until, "cursor": cursor},
            )
        )

    async def export(
        self,
        *,
        action: str | None = None,
        resource_id: str | None = None,
        actor: str | None = None,
        result: Literal["ok", "accepted", "refused", "failed"] | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> bytes:
        """Stream the audit log as JSON objects, one per line, newest first."""
        request = Request(
            "GET",
            "/api/audit-logs/export",
            repeatable=True,
            query={"action": action, "resource_id": resource_id, "actor": actor, "result": result, "since": since, "until": until},
        )
        response = await self._sender.send(request)
        return response.content


class Auth(_Group):
    async def login(self, body: models.LoginInput) -> models.LoginOutput:
        """Log in. Returns a session token, or a challenge if the user has an authenticator."""
        request = Request("POST", "/api/auth/login", body=body)
        response = await self._sender.send(request)
        answer: models.LoginOutput = exchange.data(response)
        return answer

    async def mfa(self, body: models.LoginCode) -> models.LoginOutput:
        """Complete a login: answer its challenge with an authenticator or recovery code."""
        request = Request("POST", "/api/auth/mfa", body=body)
        response = await self._sender.send(request)
        answer: models.LoginOutput = exchange.data(response)
        return answer

    async def logout(self) -> models.Done:
        """End the current session."""
        request = Request("POST", "/api/auth/logout")
        response = await self._sender.send(request)
        answer: models.Done = exchange.data(response)
        return answer

    async def me(self) -> models.Me:
        """Return the caller's identity and permissions."""
        request = Request("GET", "/api/auth/me", repeatable=True)
        response = await self._sender.send(request)
        answer: models.Me = exchange.data(response)
        return answer

    def sessions(self, *, limit: int | None = None) -> AsyncIterator[models.PersonSession]:
        """List the caller's own sessions, newest first."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                "/api/auth/sessions",
                repeatable=True,
                query={"limit": limit, "cursor": cursor},
            )
        )

    async def revoke_session(self, identifier: str) -> models.PersonSession:
        """End one of the caller's own sessions."""
        request = Request("DELETE", f"/api/auth/sessions/{segment(identifier)}")
        response = await self._sender.send(request)
        answer: models.PersonSession = exchange.data(response)
        return answer

    async def change_password(self, body: models.ChangePassword) -> models.Done:
        """Change the caller's own password and end all other sessions of the caller."""
        request = Request("POST", "/api/auth/password", body=body)
        response = await self._sender.send(request)
        answer: models.Done = exchange.data(response)
        return answer

    async def begin_totp(
        self,
        body: models.ProofInput,
        *,
        idempotency_key: str | None = None,
    ) -> models.TotpSecret:
        """Create a secret for an authenticator; it takes effect once .../totp/confirm gets a
        code.
        """
        request = exchange.post("/api/auth/totp", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.TotpSecret = exchange.data(response)
        return answer

    async def confirm_totp(
        self,
        body: models.TotpCode,
        *,
        idempotency_key: str | None = None,
    ) -> models.RecoveryCodes:
        """Confirm the new authenticator with a code. From then on every login requires one."""
        request = exchange.post("/api/auth/totp/confirm", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.RecoveryCodes = exchange.data(response)
        return answer

    async def remove_totp(self, body: models.RemoveTotp) -> models.Done:
        """Remove the authenticator. Logins then require no code."""
        request = Request("POST", "/api/auth/totp/remove", body=body)
        response = await self._sender.send(request)
        answer: models.Done = exchange.data(response)
        return answer

    async def recovery_codes(
        self,
        body: models.ProofInput,
        *,
        idempotency_key: str | None = None,
    ) -> models.RecoveryCodes:
        """Create new recovery codes and invalidate the old ones."""
        request = exchange.post("/api/auth/recovery-codes", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.RecoveryCodes = exchange.data(response)
        return answer


class BackupSchedules(_Group):
    async def show(self, identifier: str) -> models.Schedule:
        """Return the database's backup schedule, its retention, and the result of the last
        backup.
        """
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/backups/schedule",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: models.Schedule = exchange.data(response)
        return answer

    async def set_own(self, identifier: str, body: models.BackupSchedule) -> models.Schedule:
        """Set the database's own schedule. Backups past their retention are removed within a
        minute.
        """
        request = Request(
            "PUT",
            f"/api/databases/{segment(identifier)}/backups/schedule",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Schedule = exchange.data(response)
        return answer

    async def remove_own(self, identifier: str) -> models.Schedule:
        """Remove the database's own schedule, so that its environment's default applies again."""
        request = Request("DELETE", f"/api/databases/{segment(identifier)}/backups/schedule")
        response = await self._sender.send(request)
        answer: models.Schedule = exchange.data(response)
        return answer

    async def defaults(self) -> builtins.list[models.Default]:
        """List the default schedules of the environments."""
        request = Request("GET", "/api/backup-defaults", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Default] = exchange.data(response)
        return answer

    async def set_default(self, environment: str, body: models.BackupSchedule) -> models.Default:
        """Set an environment's default schedule, for all databases without a schedule of their
        own.
        """
        request = Request(
            "PUT",
            f"/api/backup-defaults/{segment(environment)}",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Default = exchange.data(response)
        return answer


class Backups(_Group):
    def list(self, identifier: str, *, limit: int | None = None) -> AsyncIterator[models.Backup]:
        """List the database's logical backups, newest first, including those of a deleted
        database.
        """
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                f"/api/databases/{segment(identifier)}/backups",
                repeatable=True,
                query={"limit": limit, "cursor": cursor},
            )
        )

    async def create(
        self,
        identifier: str,
        body: models.CreateBackup,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Create a logical backup without interrupting the database. The result has the backup's
        id.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/backups",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def show(self, identifier: str, backup_id: str) -> models.Backup:
        """Return one backup."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/backups/{segment(backup_id)}",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: models.Backup = exchange.data(response)
        return answer

    async def delete(self, identifier: str, backup_id: str) -> models.DeletedBackup:
        """Delete a backup and its file. Audit entries remain."""
        request = Request(
            "DELETE",
            f"/api/databases/{segment(identifier)}/backups/{segment(backup_id)}",
        )
        response = await self._sender.send(request)
        answer: models.DeletedBackup = exchange.data(response)
        return answer

    async def download(self, identifier: str, backup_id: str) -> bytes:
        """Download the file. Repr-Digest (RFC 9530) has its SHA-256; range requests are
        supported.
        """
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/backups/{segment(backup_id)}/download",
            repeatable=True,
        )
        response = await self._sender.send(request)
        return response.content

    async def verify(
        self,
        identifier: str,
        backup_id: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Read the file and compare it with its recorded hash. The result is ready or damaged."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/backups/{segment(backup_id)}/verify",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer


class Blueprints(_Group):
    async def list(self) -> builtins.list[models.Blueprint]:
        """List the available blueprints by name."""
        request = Request("GET", "/api/blueprints", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Blueprint] = exchange.data(response)
        return answer

    async def show(self, name: str) -> models.WholeBlueprint:
        """Return a blueprint: its README, versions, roles, extensions, data API and migrations."""
        request = Request("GET", f"/api/blueprints/{segment(name)}", repeatable=True)
        response = await self._sender.send(request)
        answer: models.WholeBlueprint = exchange.data(response)
        return answer

    async def standing(self, identifier: str) -> models.StandingBlueprint:
        """Return the blueprint of a database, its version, and whether there is a newer one."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/blueprint", repeatable=True)
        response = await self._sender.send(request)
        answer: models.StandingBlueprint = exchange.data(response)
        return answer

    async def apply(
        self,
        identifier: str,
        body: models.ApplyBlueprint,
        *,
        idempotency_key: str | None = None,
    ) -> models.AppliedBlueprint:
        """Apply a blueprint to a database, or upgrade it from an earlier version of the
        blueprint.

        Migrations run with the rights of the owner role. Missing roles of the blueprint are
        created.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/blueprint",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.AppliedBlueprint = exchange.data(response)
        return answer

    async def compare(self, identifier: str) -> models.BlueprintsComparison:
        """Compare a database with its blueprint at the database's own version.

        The blueprint is applied to a scratch database for this, which takes a second or two.
        """
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/blueprint/diff",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: models.BlueprintsComparison = exchange.data(response)
        return answer


class Branches(_Group):
    async def create(
        self,
        identifier: str,
        body: models.CreateBranch,
        *,
        idempotency_key: str | None = None,
    ) -> models.Branch:
        """Create a database with a copy of this one's data. Its password is shown only in this
        answer.

        The password is valid once the operation has succeeded.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/branches",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Branch = exchange.data(response)
        return answer

    def list(self, identifier: str, *, limit: int | None = None) -> AsyncIterator[models.Database]:
        """List the database's branches, newest first."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                f"/api/databases/{segment(identifier)}/branches",
                repeatable=True,
                query={"limit": limit, "cursor": cursor},
            )
        )

    async def compare(
        self,
        identifier: str,
        branch_id: str,
    ) -> builtins.list[models.SchemaDifference]:
        """Compare the branch's schema with the parent's: tables, columns, indexes, policies and
        so on.

        Rows are not compared.
        """
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/branches/{segment(branch_id)}/diff",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.SchemaDifference] = exchange.data(response)
        return answer

    async def reset(
        self,
        identifier: str,
        branch_id: str,
        body: models.ResetBranch,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Reset a branch to its parent's present or past state.

        The branch's previous contents are retained for a while.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/branches/{segment(branch_id)}/reset",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def promote(
        self,
        identifier: str,
        body: models.PromoteBranch | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Replace the parent's contents with this branch's; the parent's connection strings stay
        valid.

        The parent's previous contents are retained for a while, and the branch remains.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/promote",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def masking(self, identifier: str) -> models.Masking:
        """Return the SQL that masks each branch before clients can connect."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/masking", repeatable=True)
        response = await self._sender.send(request)
        answer: models.Masking = exchange.data(response)
        return answer

    async def set_masking(self, identifier: str, body: models.SetMasking) -> models.Masking:
        """Set the SQL that masks each new branch before clients can connect; null removes it."""
        request = Request(
            "PUT",
            f"/api/databases/{segment(identifier)}/masking",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Masking = exchange.data(response)
        return answer


class CacheUsage(_Group):
    async def analytics(
        self,
        identifier: str,
        *,
        from_: str | None = None,
        to: str | None = None,
        step: int | None = None,
        model: str | None = None,
    ) -> models.Analytics:
        """Return what a site's cache did over time: a series for each figure, ready to be drawn."""
        request = Request(
            "GET",
            f"/api/sites/{segment(identifier)}/analytics",
            repeatable=True,
            query={"from": from_, "to": to, "step": step, "model": model},
        )
        response = await self._sender.send(request)
        answer: models.Analytics = exchange.data(response)
        return answer

    async def report(self, identifier: str, *, days: int | None = None) -> models.Report:
        """Return what a site's cache did in the last days, what it saved, and what takes its
        memory.
        """
        request = Request(
            "GET",
            f"/api/sites/{segment(identifier)}/report",
            repeatable=True,
            query={"days": days},
        )
        response = await self._sender.send(request)
        answer: models.Report = exchange.data(response)
        return answer

    async def prices(self) -> models.PriceList:
        """Return the operator's prices of tokens, by which savings are valued."""
        request = Request("GET", "/api/cache-prices", repeatable=True)
        response = await self._sender.send(request)
        answer: models.PriceList = exchange.data(response)
        return answer

    async def replace_prices(self, body: models.CachePrices) -> models.PriceList:
        """Replace all prices. What was counted earlier is valued by them, too."""
        request = Request("PUT", "/api/cache-prices", repeatable=True, body=body)
        response = await self._sender.send(request)
        answer: models.PriceList = exchange.data(response)
        return answer


class Clusters(_Group):
    async def list(self) -> builtins.list[models.Cluster]:
        """List the PostgreSQL clusters."""
        request = Request("GET", "/api/clusters", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Cluster] = exchange.data(response)
        return answer

    async def add(
        self,
        body: models.AddCluster,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Add a shared cluster. New databases go to the cluster that has most free connections.

        Each shared cluster gets an equal part of the memory; those that run already give
        their part up when they are next started.
        """
        request = exchange.post("/api/clusters", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def backups(self, identifier: str) -> models.ClusterBackups:
        """Return each repository's backups of a cluster and the earliest moment to restore."""
        request = Request("GET", f"/api/clusters/{segment(identifier)}/backups", repeatable=True)
        response = await self._sender.send(request)
        answer: models.ClusterBackups = exchange.data(response)
        return answer

    async def back_up(
        self,
        identifier: str,
        body: models.BackUpCluster,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Create a backup in every repository, then remove backups past their retention."""
        request = exchange.post(
            f"/api/clusters/{segment(identifier)}/backups",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def verify(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Read all backups and WAL of a cluster; the operation fails if anything is damaged."""
        request = exchange.post(
            f"/api/clusters/{segment(identifier)}/backups/verify",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def restore(
        self,
        identifier: str,
        body: models.RestoreCluster,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Restore a whole shared cluster, with all its databases, to a point in time.

        The cluster serves until its replacement is built and checked; then all sessions end
        for a few seconds. The old cluster is retained. All other operations are cancelled.
        """
        request = exchange.post(
            f"/api/clusters/{segment(identifier)}/restore",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer


class Customers(_Group):
    def list(
        self,
        *,
        email: str | None = None,
        search: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[models.Customer]:
        """List customers, newest first. ``search`` matches a part of their addresses, in any
        case.
        """
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                "/api/customers",
                repeatable=True,
                query={"email": email, "search": search, "limit": limit, "cursor": cursor},
            )
        )

    async def show(self, identifier: str) -> models.Customer:
        """Return one customer."""
        request = Request("GET", f"/api/customers/{segment(identifier)}", repeatable=True)
        response = await self._sender.send(request)
        answer: models.Customer = exchange.data(response)
        return answer

    async def update(self, identifier: str, body: models.UpdateCustomer) -> models.Customer:
        """Give a customer another pricing plan; what it has stays as it is."""
        request = Request("PATCH", f"/api/customers/{segment(identifier)}", body=body)
        response = await self._sender.send(request)
        answer: models.Customer = exchange.data(response)
        return answer

    async def remove(self, identifier: str) -> models.Customer:
        """Remove a customer without databases, users, valid API keys, backups, sites and open
        work.
        """
        request = Request("DELETE", f"/api/customers/{segment(identifier)}")
        response = await self._sender.send(request)
        answer: models.Customer = exchange.data(response)
        return answer


class DataApi(_Group):
    async def show(self, identifier: str) -> models.DataApi:
        """Return how a database's data API is configured, without its keys."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/data-api", repeatable=True)
        response = await self._sender.send(request)
        answer: models.DataApi = exchange.data(response)
        return answer

    async def put(self, identifier: str, body: models.PutDataApi) -> models.OpenedDataApi:
        """Enable a database's data API, or replace its configuration.

        The secret and the keys of a new one are shown only in this answer.
        """
        request = Request(
            "PUT",
            f"/api/databases/{segment(identifier)}/data-api",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.OpenedDataApi = exchange.data(response)
        return answer

    async def disable(self, identifier: str) -> models.DisabledDataApi:
        """Disable a database's data API, and forget its keys. What was granted to anon stays."""
        request = Request("DELETE", f"/api/databases/{segment(identifier)}/data-api")
        response = await self._sender.send(request)
        answer: models.DisabledDataApi = exchange.data(response)
        return answer

    async def rotate(
        self,
        identifier: str,
        body: models.RotateDataApi,
        *,
        idempotency_key: str | None = None,
    ) -> models.OpenedDataApi:
        """Replace the secret and the keys, which are shown only in this answer."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/data-api/rotate",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.OpenedDataApi = exchange.data(response)
        return answer

    async def issue_token(
        self,
        identifier: str,
        body: models.CreateToken,
        *,
        idempotency_key: str | None = None,
    ) -> models.Token:
        """Sign a token with the present secret. It cannot be revoked alone: rotation ends all."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/data-api/tokens",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Token = exchange.data(response)
        return answer


class Databases(_Group):
    async def create(
        self,
        body: models.CreateDatabase,
        *,
        idempotency_key: str | None = None,
    ) -> models.CreatedDatabase:
        """Create a database. Its password is shown only in this answer.

        ``import_from`` copies another database into it; ``blueprint`` gives it a schema, with
        the roles and the data API that belong to it. ``operation_id`` is the operation that
        does either. A blueprint is applied before this answers unless it takes longer than
        ten seconds. With the kind ``dedicated`` the answer is 202: strings and password are
        valid once ``operation_id`` succeeded.
        """
        request = exchange.post("/api/databases", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.CreatedDatabase = exchange.data(response)
        return answer

    def list(
        self,
        *,
        environment: Literal["production", "staging", "development"] | None = None,
        status: Literal["active", "branching", "deleting"] | None = None,
        owner: str | None = None,
        search: str | None = None,
        blueprint: str | None = None,
        tag: builtins.list[str] | None = None,
        unused_since: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[models.Database]:
        """List databases, newest first. ``search`` matches names, friendly names and owners."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                "/api/databases",
                repeatable=True,
                query={"environment": environment, "status": status, "owner": owner, "search": search, "blueprint": blueprint, "tag": tag, "unused_since": unused_since, "limit": limit, "cursor": cursor},
            )
        )

    async def show(self, identifier: str) -> models.Database:
        """Return one database."""
        request = Request("GET", f"/api/databases/{segment(identifier)}", repeatable=True)
        response = await self._sender.send(request)
        answer: models.Database = exchange.data(response)
        return answer

    async def update(self, identifier: str, body: models.UpdateDatabase) -> models.UpdatedDatabase:
        """Change attributes and limits of a database, and the size of its instance.

        Open sessions are unaffected, unless the database goes over its disk quota or back
        under it. An instance has its new size at once; parameters that follow it and need a
        restart are listed in ``pending_restart``, or with ``restart`` the instance is
        restarted: then the answer is 202.
        """
        request = Request("PATCH", f"/api/databases/{segment(identifier)}", body=body)
        response = await self._sender.send(request)
        answer: models.UpdatedDatabase = exchange.data(response)
        return answer

    async def delete(self, identifier: str, *, keep_backups: bool | None = None) -> models.Deleted:
        """Delete a database with its shadow and roles, and end all their sessions.

        Audit entries remain. Its logical backups are removed within a minute, or with
        ``keep_backups`` remain until they are deleted.
        """
        request = Request(
            "DELETE",
            f"/api/databases/{segment(identifier)}",
            query={"keep_backups": keep_backups},
        )
        response = await self._sender.send(request)
        answer: models.Deleted = exchange.data(response)
        return answer

    async def reconnect_pool(
        self,
        identifier: str,
        *,
        end_clients: bool | None = None,
        idempotency_key: str | None = None,
    ) -> models.Database:
        """Replace the pooler's server connections of the database and its shadow.

        No client is disconnected: clients wait up to a second for open transactions, and a
        longer transaction keeps its connection to its end. In session mode a client keeps its
        connection until it disconnects. With ``end_clients`` all pooled sessions end at once.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/pool/reconnect",
            key=idempotency_key,
            query={"end_clients": end_clients},
        )
        response = await self._sender.send(request)
        answer: models.Database = exchange.data(response)
        return answer

    async def strings(
        self,
        identifier: str,
        *,
        format: Literal["psql", "node", "prisma", "drizzle", "django", "sqlalchemy", "asyncpg", "jdbc", "go", "pgadmin"] | None = None,
        verify_full: bool | None = None,
        ca_file: str | None = None,
    ) -> models.Strings:
        """Return all connection strings, without passwords. Those for Node always verify the
        server.
        """
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/connection-strings",
            repeatable=True,
            query={"format": format, "verify_full": verify_full, "ca_file": ca_file},
        )
        response = await self._sender.send(request)
        answer: models.Strings = exchange.data(response)
        return answer

    async def stats(self, identifier: str) -> models.DatabaseStats:
        """Return current size, sessions and counters, and what an instance takes of the machine.

        Size and sessions include the shadow's, and those of all databases of an instance.
        """
        request = Request("GET", f"/api/databases/{segment(identifier)}/stats", repeatable=True)
        response = await self._sender.send(request)
        answer: models.DatabaseStats = exchange.data(response)
        return answer

    async def rotate_password(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.OpenedDatabase:
        """Set a new password, shown only in this answer. Open sessions, also pooled ones, go on."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/rotate-password",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.OpenedDatabase = exchange.data(response)
        return answer


class Extensions(_Group):
    async def list(self, identifier: str) -> builtins.list[models.Extension]:
        """List the server's extensions, and which of them the database has."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/extensions",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.Extension] = exchange.data(response)
        return answer

    async def add(
        self,
        identifier: str,
        body: models.AddExtension,
        *,
        idempotency_key: str | None = None,
    ) -> models.ChangedExtension:
        """Install an extension, and those that it requires, in one of the database's schemas.

        One that ``preloads`` is only for an instance. If its server has not loaded the
        library yet, the extension is created by the operation that restarts it: with
        ``restart`` that begins now.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/extensions",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.ChangedExtension = exchange.data(response)
        return answer

    async def remove(
        self,
        identifier: str,
        name: str,
        *,
        restart: bool | None = None,
    ) -> models.ChangedExtension:
        """Remove an extension that no object depends on.

        The server of an instance has its library loaded until it is restarted: with
        ``restart`` now.
        """
        request = Request(
            "DELETE",
            f"/api/databases/{segment(identifier)}/extensions/{segment(name)}",
            query={"restart": restart},
        )
        response = await self._sender.send(request)
        answer: models.ChangedExtension = exchange.data(response)
        return answer


class Imports(_Group):
    async def begin(
        self,
        identifier: str,
        body: models.ImportDatabase | bytes,
        *,
        jobs: int | None = None,
        statement_timeout_seconds: float | None = None,
        map_role: builtins.list[str] | None = None,
        accept_losses: bool | None = None,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Copy a database from elsewhere, or an uploaded dump of one, into an empty database.

        The owner role will own all of it. Connection strings are not stored: an import that
        is interrupted by a restart is undone and has to be requested again.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/import",
            key=idempotency_key,
            query={"jobs": jobs, "statement_timeout_seconds": statement_timeout_seconds, "map_role": map_role, "accept_losses": accept_losses},
            body=body,
            media_type="application/octet-stream",
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def preview(
        self,
        identifier: str,
        body: models.PreviewImport | bytes,
        *,
        idempotency_key: str | None = None,
    ) -> models.Preview:
        """Preview what an import from elsewhere or of a dump would bring, without importing it.

        A dump is retained for an hour and can be imported by its `upload_id` without sending
        it again.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/import/preview",
            key=idempotency_key,
            body=body,
            media_type="application/octet-stream",
        )
        response = await self._sender.send(request)
        answer: models.Preview = exchange.data(response)
        return answer


class Insights(_Group):
    async def sessions(self, identifier: str) -> builtins.list[models.InsightsSession]:
        """List the open sessions of the database and its shadow, those in a transaction first."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/sessions", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.InsightsSession] = exchange.data(response)
        return answer

    async def locks(self, identifier: str) -> builtins.list[models.Waiting]:
        """List the sessions that wait for a lock and those that they wait for, as a tree."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/locks", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Waiting] = exchange.data(response)
        return answer

    async def tables(self, identifier: str) -> builtins.list[models.InsightsTable]:
        """List the tables of the database with their indexes, the largest first; at most 1,000."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/tables", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.InsightsTable] = exchange.data(response)
        return answer

    async def cancel(
        self,
        identifier: str,
        pid: str,
        body: models.SignalSession | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> models.SignalledSession:
        """Cancel the statement that a session runs; the session stays open."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/sessions/{segment(pid)}/cancel",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.SignalledSession = exchange.data(response)
        return answer

    async def terminate(
        self,
        identifier: str,
        pid: str,
        body: models.SignalSession | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> models.SignalledSession:
        """End a session; its transaction is rolled back."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/sessions/{segment(pid)}/terminate",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.SignalledSession = exchange.data(response)
        return answer


class Instances(_Group):
    async def versions(self) -> builtins.list[models.InstancesVersion]:
        """List the major versions of PostgreSQL that instances can have here, the oldest first."""
        request = Request("GET", "/api/versions", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.InstancesVersion] = exchange.data(response)
        return answer

    async def start(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Start a database's instance; one that runs goes on."""
        request = exchange.post(f"/api/databases/{segment(identifier)}/start", key=idempotency_key)
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def stop(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Stop a database's instance: all its sessions end, and nobody can connect until its
        start.

        Its data and backups stay. It takes no memory, and is not started by a start of the
        platform.
        """
        request = exchange.post(f"/api/databases/{segment(identifier)}/stop", key=idempotency_key)
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def restart(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Stop a database's instance, ending all its sessions, and start it again."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/restart",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def settings(self, identifier: str) -> models.InstanceSettings:
        """List the parameters of PostgreSQL that can be set for a database's instance, which
        runs.
        """
        request = Request("GET", f"/api/databases/{segment(identifier)}/settings", repeatable=True)
        response = await self._sender.send(request)
        answer: models.InstanceSettings = exchange.data(response)
        return answer

    async def change_settings(
        self,
        identifier: str,
        body: models.SetParameters,
    ) -> models.InstanceSettings:
        """Set parameters of PostgreSQL for a database's instance; null is the default again.

        What needs no restart is in force when this answers, the rest once the instance has
        been restarted, or started, by an operation. With ``restart`` that operation begins
        now, if anything waits for it. If the server does not start with the new values, it
        goes on with the former ones and the operation fails with the reason.
        """
        request = Request("PATCH", f"/api/databases/{segment(identifier)}/settings", body=body)
        response = await self._sender.send(request)
        answer: models.InstanceSettings = exchange.data(response)
        return answer


class Keys(_Group):
    async def create(
        self,
        body: models.CreateKey,
        *,
        idempotency_key: str | None = None,
    ) -> models.NewApiKey:
        """Create an API key. It is shown only in this answer."""
        request = exchange.post("/api/api-keys", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.NewApiKey = exchange.data(response)
        return answer

    def list(self, *, limit: int | None = None) -> AsyncIterator[models.ApiKey]:
        """List API keys, newest first, without their secrets."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                "/api/api-keys",
                repeatable=True,
                query={"limit": limit, "cursor": cursor},
            )
        )

    async def revoke(self, identifier: str) -> models.ApiKey:
        """Revoke an API key, and those created with it, permanently; effective on the next
        request.
        """
        request = Request("DELETE", f"/api/api-keys/{segment(identifier)}")
        response = await self._sender.send(request)
        answer: models.ApiKey = exchange.data(response)
        return answer


class Logs(_Group):
    def list(
        self,
        identifier: str,
        *,
        kind: Literal["statement", "duration", "error", "notice"] | None = None,
        since: str | None = None,
        until: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[models.LogEntry]:
        """List what was logged of the database, newest first, without secrets; see its log
        settings.
        """
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                f"/api/databases/{segment(identifier)}/logs",
                repeatable=True,
                query={"kind": kind, "since": since, "until": until, "after": after, "limit": limit, "cursor": cursor},
            )
        )

    async def settings(self, identifier: str) -> models.Log:
        """Return the log settings of the database."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/logs/settings",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: models.Log = exchange.data(response)
        return answer

    async def change(self, identifier: str, body: models.SetLog) -> models.Log:
        """Replace the log settings of the database; an omitted setting is turned off.

        They apply to new sessions, and to pooled clients once the pool is renewed.
        """
        request = Request(
            "PUT",
            f"/api/databases/{segment(identifier)}/logs/settings",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Log = exchange.data(response)
        return answer


class Maintenance(_Group):
    async def estimate(self, identifier: str) -> builtins.list[models.VacuumingTable]:
        """Estimate what rewriting each table would give back, largest first; at most 1,000
        tables.
        """
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/vacuum-full",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.VacuumingTable] = exchange.data(response)
        return answer

    async def rewrite(
        self,
        identifier: str,
        body: models.VacuumFull,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Rewrite tables to give back the space of deleted rows. Each is locked while it is
        rewritten.

        The result has ``tables`` with their sizes ``before_bytes`` and ``after_bytes``, the
        total ``returned_bytes``, and what was ``skipped`` with the ``reason``.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/vacuum-full",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def vacuum(
        self,
        identifier: str,
        body: models.Vacuum,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Make the space of deleted rows available to new ones. Tables can be used meanwhile.

        The result has ``tables`` with their sizes ``before_bytes`` and ``after_bytes``, and
        what was ``skipped`` with the ``reason``.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/vacuum",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def analyze(
        self,
        identifier: str,
        body: models.Analyze,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Collect the planner's statistics of tables again.

        The result has ``tables``, and what was ``skipped`` with the ``reason``.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/analyze",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def reindex(
        self,
        identifier: str,
        body: models.Reindex,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Rebuild indexes, while their tables are used (REINDEX CONCURRENTLY).

        The result has ``indexes`` with their sizes ``before_bytes`` and ``after_bytes``, the
        total ``returned_bytes``, and what was ``skipped`` with the ``reason``.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/reindex",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def create_index(
        self,
        identifier: str,
        body: models.CreateIndex,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Create an index, while its table is used (CREATE INDEX CONCURRENTLY).

        The result has ``index``, as ``schema.name``, and ``size_bytes``. If it fails or is
        cancelled, no invalid index is left.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/indexes",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer


class Marks(_Group):
    async def create(
        self,
        identifier: str,
        body: models.CreateMark,
        *,
        idempotency_key: str | None = None,
    ) -> models.Mark:
        """Mark a moment, so that it is found on the timeline: for scripts that deploy something.

        A database has its newest 1,000 marks.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/marks",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Mark = exchange.data(response)
        return answer

    async def marks(self, identifier: str) -> builtins.list[models.Mark]:
        """List the marks, newest first."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/marks", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Mark] = exchange.data(response)
        return answer

    async def remove(self, identifier: str, mark_id: str) -> models.Mark:
        """Delete a mark."""
        request = Request(
            "DELETE",
            f"/api/databases/{segment(identifier)}/marks/{segment(mark_id)}",
        )
        response = await self._sender.send(request)
        answer: models.Mark = exchange.data(response)
        return answer

    async def timeline(
        self,
        identifier: str,
        *,
        since: str | None = None,
    ) -> builtins.list[models.Event]:
        """List marks, migrations, backups, restores and the like, newest first, at most 500."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/timeline",
            repeatable=True,
            query={"since": since},
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.Event] = exchange.data(response)
        return answer


class Metrics(_Group):
    async def metrics(
        self,
        identifier: str,
        *,
        from_: str | None = None,
        to: str | None = None,
        step: int | None = None,
    ) -> models.Metrics:
        """Return what the database had and did: a series for each figure, ready to be drawn."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/metrics",
            repeatable=True,
            query={"from": from_, "to": to, "step": step},
        )
        response = await self._sender.send(request)
        answer: models.Metrics = exchange.data(response)
        return answer

    async def sparklines(
        self,
        *,
        ids: builtins.list[str],
        period: Literal["hour", "day", "week"] | None = None,
    ) -> builtins.list[models.Sparklines]:
        """Return short series of several databases at once. Unknown ids are left out."""
        request = Request(
            "GET",
            "/api/metrics/sparklines",
            repeatable=True,
            query={"ids": ids, "period": period},
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.Sparklines] = exchange.data(response)
        return answer

    async def latest(
        self,
        *,
        ids: builtins.list[str] | None = None,
        sort: Literal["transactions", "connections", "waiting", "hits", "cpu", "temporary", "wal", "longest", "size"] | None = None,
        limit: int | None = None,
    ) -> builtins.list[models.Latest]:
        """Return what databases do at present, by the newest sample of each.

        Unknown ids, and databases that were not sampled in the last ten minutes, are left
        out.
        """
        request = Request(
            "GET",
            "/api/metrics/latest",
            repeatable=True,
            query={"ids": ids, "sort": sort, "limit": limit},
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.Latest] = exchange.data(response)
        return answer


class Migrations(_Group):
    async def show(self, identifier: str) -> models.Migrations:
        """Return a database's migration version and its applied files."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/migrations",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: models.Migrations = exchange.data(response)
        return answer

    async def run(
        self,
        identifier: str,
        body: models.MigrateDatabase | bytes,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Run migration files with the rights of the owner role. The result lists the steps."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/migrations",
            key=idempotency_key,
            body=body,
            media_type="application/x-tar",
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def run_many(
        self,
        body: models.MigrateMany | bytes,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Migrate many databases to the last of these files, a few first as a canary.

        With `dry_run`, it is answered which databases these would be.
        """
        request = exchange.post(
            "/api/migrations",
            key=idempotency_key,
            body=body,
            media_type="application/x-tar",
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    def report(
        self,
        identifier: str,
        *,
        status: Literal["pending", "running", "succeeded", "failed", "skipped"] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[models.Target]:
        """List the results of a run over many databases, for each database, by operation id."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                f"/api/migrations/{segment(identifier)}",
                repeatable=True,
                query={"status": status, "limit": limit, "cursor": cursor},
            )
        )


class Moves(_Group):
    async def move(
        self,
        identifier: str,
        body: models.MoveDatabase,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Move a database to an instance of its own, to a shared cluster, or to another one.

        It is copied by dump and load. Meanwhile pooled clients wait, and direct sessions are
        ended; if that takes longer than `max_wait_seconds`, the move is undone. The id, the
        names, the logins and the pooled connection strings stay. The original is retained for
        a while.

        With `dry_run`, it is answered what the move would do, and how long clients would
        wait.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/move",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer


class Operations(_Group):
    def list(
        self,
        *,
        kind: str | None = None,
        status: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None = None,
        resource_id: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[models.Operation]:
        """List operations, newest first."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                "/api/operations",
                repeatable=True,
                query={"kind": kind, "status": status, "resource_id": resource_id, "limit": limit, "cursor": cursor},
            )
        )

    async def show(self, identifier: str) -> models.Operation:
        """Return an operation's progress: step, bytes, rate and remaining time."""
        request = Request("GET", f"/api/operations/{segment(identifier)}", repeatable=True)
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def cancel(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Cancel an operation and undo its completed steps. One past its point of no return goes
        on.
        """
        request = exchange.post(
            f"/api/operations/{segment(identifier)}/cancel",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def abandon(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """End an operation immediately, without undoing its steps.

        This is the last resort for an operation that neither ends nor can be cancelled: its
        database can be used, restored or deleted again.
        """
        request = exchange.post(
            f"/api/operations/{segment(identifier)}/abandon",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer


class Past(_Group):
    async def begin(
        self,
        identifier: str,
        body: models.LookBack,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Make the database readable as it was, beside it; nothing of it changes.

        Another one that can be read is ended.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/past",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def sessions(self, identifier: str) -> builtins.list[models.Past]:
        """List what is being made, or can be read."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/past", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Past] = exchange.data(response)
        return answer

    async def end(self, identifier: str, past_id: str) -> models.Past:
        """End it before it expires."""
        request = Request("DELETE", f"/api/databases/{segment(identifier)}/past/{segment(past_id)}")
        response = await self._sender.send(request)
        answer: models.Past = exchange.data(response)
        return answer

    async def tables(self, identifier: str, past_id: str) -> builtins.list[models.TableRows]:
        """Count the rows of each table then and now."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/past/{segment(past_id)}/tables",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.TableRows] = exchange.data(response)
        return answer

    async def sql(self, identifier: str, past_id: str, body: models.RunSql) -> models.Run:
        """Run statements in the database as it was, read-only, with the rights of its owner
        role.
        """
        request = Request(
            "POST",
            f"/api/databases/{segment(identifier)}/past/{segment(past_id)}/sql",
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Run = exchange.data(response)
        return answer

    async def compare(
        self,
        identifier: str,
        past_id: str,
        body: models.CompareTable,
    ) -> models.PastComparison:
        """Compare a table with what it was, by its primary key. The newest 20 comparisons are
        kept.
        """
        request = Request(
            "POST",
            f"/api/databases/{segment(identifier)}/past/{segment(past_id)}/comparisons",
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.PastComparison = exchange.data(response)
        return answer

    async def comparison(
        self,
        identifier: str,
        past_id: str,
        comparison_id: str,
    ) -> models.PastComparison:
        """Return what a comparison has found."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/past/{segment(past_id)}/comparisons/{segment(comparison_id)}",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: models.PastComparison = exchange.data(response)
        return answer

    async def rows(
        self,
        identifier: str,
        past_id: str,
        comparison_id: str,
        *,
        kind: Literal["deleted", "changed", "added"] | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> models.Differences:
        """Show a page of the rows that differ, with their values then and now."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/past/{segment(past_id)}/comparisons/{segment(comparison_id)}/rows",
            repeatable=True,
            query={"kind": kind, "after": after, "limit": limit},
        )
        response = await self._sender.send(request)
        answer: models.Differences = exchange.data(response)
        return answer

    async def bring_back(
        self,
        identifier: str,
        past_id: str,
        comparison_id: str,
        body: models.BringBack,
    ) -> models.BroughtBack:
        """Bring deleted and changed rows back, in one transaction, with the rights of the owner
        role.

        It takes `databases:write`, too. Rows that are not what was compared any more are left
        as they are; nothing is deleted.
        """
        request = Request(
            "POST",
            f"/api/databases/{segment(identifier)}/past/{segment(past_id)}/comparisons/{segment(comparison_id)}/bring-back",
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.BroughtBack = exchange.data(response)
        return answer


class Plans(_Group):
    async def list(self) -> builtins.list[models.Plan]:
        """List the pricing plans, the smallest first."""
        request = Request("GET", "/api/plans", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Plan] = exchange.data(response)
        return answer

    async def update(self, name: str, body: models.UpdatePlan) -> models.Plan:
        """Change the sizes of a plan, for what its customers create or enlarge from now on."""
        request = Request("PATCH", f"/api/plans/{segment(name)}", body=body)
        response = await self._sender.send(request)
        answer: models.Plan = exchange.data(response)
        return answer


class Platform(_Group):
    async def live(self) -> dict[str, str]:
        """Report that the API runs, without checking other parts."""
        request = Request("GET", "/health", repeatable=True)
        response = await self._sender.send(request)
        answer: dict[str, str] = exchange.whole(response)
        return answer

    async def ready(self) -> Any:
        """Report whether every part answers, and how fast.

        ``detail`` names databases, files and versions: callers from other machines need a key
        with the scope platform:read; otherwise it is null.
        """
        request = Request("GET", "/ready", repeatable=True)
        response = await self._sender.send(request)
        answer: Any = exchange.whole(response)
        return answer

    async def authority(self) -> bytes:
        """Return the certificate authority's certificate, for sslmode=verify-full."""
        request = Request("GET", "/ca.crt", repeatable=True)
        response = await self._sender.send(request)
        return response.content

    async def measures(self) -> str:
        """Return metrics for Prometheus. Callers from other machines need an API key."""
        request = Request("GET", "/metrics", repeatable=True)
        response = await self._sender.send(request)
        return response.content.decode()

    async def pooler(self) -> models.PoolerState:
        """Return the pooler's pools, clients, servers and counters, and its connection budget."""
        request = Request("GET", "/api/pooler", repeatable=True)
        response = await self._sender.send(request)
        answer: models.PoolerState = exchange.data(response)
        return answer


class Prometheus(_Group):
    async def measures(self, identifier: str) -> str:
        """Return metrics of the database for Prometheus, as of its newest sample."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/metrics/prometheus",
            repeatable=True,
        )
        response = await self._sender.send(request)
        return response.content.decode()


class Proofs(_Group):
    async def drill(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Restore the database into a sandbox and compare it; the operation fails on any
        difference.
        """
        request = exchange.post(f"/api/databases/{segment(identifier)}/drill", key=idempotency_key)
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    def proofs(
        self,
        identifier: str,
        *,
        limit: int | None = None,
    ) -> AsyncIterator[models.ProofOutput]:
        """List the results of the database's drills, newest first."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                f"/api/databases/{segment(identifier)}/proofs",
                repeatable=True,
                query={"limit": limit, "cursor": cursor},
            )
        )


class Queries(_Group):
    async def queries(
        self,
        identifier: str,
        *,
        sort: Literal["total_ms", "mean_ms", "max_ms", "calls", "rows", "blocks_read", "temp_bytes", "wal_bytes"] | None = None,
        search: str | None = None,
        since: str | None = None,
        own: bool | None = None,
        limit: int | None = None,
    ) -> models.QueryListing:
        """List the statements of the database and its shadow, those first with most of ``sort``.

        Each is compared with an hour, a day and a week before.
        """
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/queries",
            repeatable=True,
            query={"sort": sort, "search": search, "since": since, "own": own, "limit": limit},
        )
        response = await self._sender.send(request)
        answer: models.QueryListing = exchange.whole(response)
        return answer

    async def reset(self, identifier: str, *, idempotency_key: str | None = None) -> models.Reset:
        """Count the statements of the database again."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/queries/reset",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.Reset = exchange.data(response)
        return answer

    async def explain(self, identifier: str, body: models.Explain) -> models.Explained:
        """Show the plan of a statement, with the rights of the owner role; nothing of it lasts."""
        request = Request("POST", f"/api/databases/{segment(identifier)}/explain", body=body)
        response = await self._sender.send(request)
        answer: models.Explained = exchange.data(response)
        return answer


class Restores(_Group):
    async def restore(
        self,
        identifier: str,
        body: models.Restore,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Restore a database to a past state, beside it or in place. Other databases are
        unaffected.

        In place, clients of the pooler wait for a moment, direct sessions are ended, and the
        replaced contents are retained for a while.

        With `tables`, for which it takes `data:write`, too, only these are brought back,
        within the database: copies in a new schema, or the rows that were deleted since.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/restore",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def replaced(self, identifier: str) -> builtins.list[models.Replaced]:
        """List the retained databases that were replaced, or are left by moves, newest first."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/replaced", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Replaced] = exchange.data(response)
        return answer


class Roles(_Group):
    async def list(self, identifier: str) -> builtins.list[models.Role]:
        """List the database's additional roles, oldest first."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/roles", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Role] = exchange.data(response)
        return answer

    async def create(
        self,
        identifier: str,
        body: models.CreateRole,
        *,
        idempotency_key: str | None = None,
    ) -> models.OpenedRole:
        """Create a role that can read, or read and write, all present and future tables.

        Its password is shown only in this answer.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/roles",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.OpenedRole = exchange.data(response)
        return answer

    async def show(self, identifier: str, role_id: str) -> models.Role:
        """Return one additional role with its connection strings, without the password."""
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/roles/{segment(role_id)}",
            repeatable=True,
        )
        response = await self._sender.send(request)
        answer: models.Role = exchange.data(response)
        return answer

    async def update(self, identifier: str, role_id: str, body: models.UpdateRole) -> models.Role:
        """Change the connection limit of a role; open sessions go on."""
        request = Request(
            "PATCH",
            f"/api/databases/{segment(identifier)}/roles/{segment(role_id)}",
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Role = exchange.data(response)
        return answer

    async def delete(self, identifier: str, role_id: str) -> models.DeletedRole:
        """Delete a role and end its sessions. What it owns passes to the owner role."""
        request = Request(
            "DELETE",
            f"/api/databases/{segment(identifier)}/roles/{segment(role_id)}",
        )
        response = await self._sender.send(request)
        answer: models.DeletedRole = exchange.data(response)
        return answer

    async def rotate_password(
        self,
        identifier: str,
        role_id: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.OpenedRole:
        """Set a new password, shown only in this answer. Open sessions, also pooled ones, go on."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/roles/{segment(role_id)}/rotate-password",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.OpenedRole = exchange.data(response)
        return answer


class Rows(_Group):
    async def change(
        self,
        identifier: str,
        body: models.ChangeRows,
        *,
        idempotency_key: str | None = None,
    ) -> models.Changed:
        """Insert, update and delete rows of one table, each by its primary key, as one
        transaction.

        It takes `data:write`, too. If one of them is not there, or has another `xmin`,
        nothing is changed: 409 `row_changed`.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/rows",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Changed = exchange.data(response)
        return answer

    async def export(
        self,
        identifier: str,
        *,
        schema: str | None = None,
        table: str,
        column: str | None = None,
        test: Literal["is", "is_not", "less", "greater", "contains", "empty", "filled"] | None = None,
        value: str | None = None,
        sort: str | None = None,
        order: Literal["asc", "desc"] | None = None,
    ) -> bytes:
        """Return all rows of a table or view as CSV, with the names of the columns in the first
        line.

        NULL is an empty field, and an empty text is `""`. It may take ten minutes.
        """
        request = Request(
            "GET",
            f"/api/databases/{segment(identifier)}/rows/csv",
            repeatable=True,
            query={"schema": schema, "table": table, "column": column, "test": test, "value": value, "sort": sort, "order": order},
        )
        response = await self._sender.send(request)
        return response.content

    async def load(
        self,
        identifier: str,
        body: bytes,
        *,
        schema: str | None = None,
        table: str,
    ) -> models.Loaded:
        """Insert the rows of a CSV file, as one transaction. It takes `data:write`, too.

        The first line names the columns that the file has; others get their defaults. An
        error names the line. Under an `Idempotency-Key` they are inserted at most once, and a
        repeated request returns 409, whatever the file.
        """
        request = Request(
            "POST",
            f"/api/databases/{segment(identifier)}/rows/csv",
            query={"schema": schema, "table": table},
            body=body,
            media_type="text/csv",
        )
        response = await self._sender.send(request)
        answer: models.Loaded = exchange.data(response)
        return answer


class SiteBackups(_Group):
    def list(
        self,
        identifier: str,
        *,
        limit: int | None = None,
    ) -> AsyncIterator[models.SiteBackup]:
        """List the backups of a site, newest first, also those that a deleted one has left."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                f"/api/sites/{segment(identifier)}/backups",
                repeatable=True,
                query={"limit": limit, "cursor": cursor},
            )
        )

    async def create(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Back up a site that keeps its data, while it serves. The result has the backup's id."""
        request = exchange.post(f"/api/sites/{segment(identifier)}/backups", key=idempotency_key)
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer

    async def delete(self, identifier: str, backup_id: str) -> models.DeletedSiteBackup:
        """Delete a backup. Its files are gone from the repositories within minutes."""
        request = Request(
            "DELETE",
            f"/api/sites/{segment(identifier)}/backups/{segment(backup_id)}",
        )
        response = await self._sender.send(request)
        answer: models.DeletedSiteBackup = exchange.data(response)
        return answer

    async def restore(
        self,
        identifier: str,
        body: models.RestoreSite,
        *,
        idempotency_key: str | None = None,
    ) -> models.Operation:
        """Put the data of a backup in service, in place of the present ones, which are lost.

        Its Redis is started again for that. If the restore fails, it has what it had before.
        """
        request = exchange.post(
            f"/api/sites/{segment(identifier)}/restore",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Operation = exchange.data(response)
        return answer


class SiteJudgements(_Group):
    async def hits(self, identifier: str, *, limit: int | None = None) -> builtins.list[models.Hit]:
        """Return some of the hits that nobody has judged, drawn by lot."""
        request = Request(
            "GET",
            f"/api/sites/{segment(identifier)}/hits",
            repeatable=True,
            query={"limit": limit},
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.Hit] = exchange.data(response)
        return answer

    async def judge(
        self,
        identifier: str,
        hit_id: str,
        body: models.JudgeHit,
        *,
        idempotency_key: str | None = None,
    ) -> models.Judged:
        """Note whether the stored answer was right for what was asked."""
        request = exchange.post(
            f"/api/sites/{segment(identifier)}/hits/{segment(hit_id)}/feedback",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Judged = exchange.data(response)
        return answer

    async def certify(
        self,
        identifier: str,
        body: models.CertifyThreshold,
        *,
        idempotency_key: str | None = None,
    ) -> models.Certificate:
        """Put the loosest threshold in force that the judged hits certify for the budget."""
        request = exchange.post(
            f"/api/sites/{segment(identifier)}/certify",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.Certificate = exchange.data(response)
        return answer

    async def threshold(self, identifier: str) -> models.Threshold:
        """Return the threshold in force, and what was measured there."""
        request = Request("GET", f"/api/sites/{segment(identifier)}/semantic", repeatable=True)
        response = await self._sender.send(request)
        answer: models.Threshold = exchange.data(response)
        return answer


class SiteProxies(_Group):
    async def show(self, identifier: str) -> models.SiteProxy:
        """Return how a site's proxy is configured, without its keys."""
        request = Request("GET", f"/api/sites/{segment(identifier)}/proxy", repeatable=True)
        response = await self._sender.send(request)
        answer: models.SiteProxy = exchange.data(response)
        return answer

    async def update(self, identifier: str, body: models.UpdateSiteProxy) -> models.SiteProxy:
        """Change settings of a site's proxy: its providers, their keys, and limits."""
        request = Request("PATCH", f"/api/sites/{segment(identifier)}/proxy", body=body)
        response = await self._sender.send(request)
        answer: models.SiteProxy = exchange.data(response)
        return answer


class SiteWhitelist(_Group):
    async def list(self, identifier: str) -> models.WhitelistListing:
        """List the addresses that may reach the site; an empty list allows all addresses."""
        request = Request("GET", f"/api/sites/{segment(identifier)}/whitelist", repeatable=True)
        response = await self._sender.send(request)
        answer: models.WhitelistListing = exchange.whole(response)
        return answer

    async def add(
        self,
        identifier: str,
        body: models.WhitelistEntryInput,
        *,
        idempotency_key: str | None = None,
    ) -> models.AddedEntry:
        """Allow an address or a range. The first entry closes the site to all other addresses.

        Programs on the platform's machine are always allowed. Connections from other
        addresses are ended. A site in the shared Redis cannot have an allowlist.
        """
        request = exchange.post(
            f"/api/sites/{segment(identifier)}/whitelist",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.AddedEntry = exchange.data(response)
        return answer

    async def replace(
        self,
        identifier: str,
        body: models.Whitelist,
    ) -> builtins.list[models.WhitelistEntryOutput]:
        """Replace the whole allowlist; an empty one allows all addresses."""
        request = Request(
            "PUT",
            f"/api/sites/{segment(identifier)}/whitelist",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.WhitelistEntryOutput] = exchange.data(response)
        return answer

    async def preview(
        self,
        identifier: str,
        body: models.PreviewWhitelist,
        *,
        idempotency_key: str | None = None,
    ) -> models.WhitelistPreview:
        """Show what replacing the allowlist would change, and which connections would end."""
        request = exchange.post(
            f"/api/sites/{segment(identifier)}/whitelist/preview",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.WhitelistPreview = exchange.data(response)
        return answer

    async def remove(self, identifier: str, whitelist_id: str) -> models.RemovedEntry:
        """Remove an address and end its connections. Removing the last entry allows all
        addresses.
        """
        request = Request(
            "DELETE",
            f"/api/sites/{segment(identifier)}/whitelist/{segment(whitelist_id)}",
        )
        response = await self._sender.send(request)
        answer: models.RemovedEntry = exchange.data(response)
        return answer


class Sites(_Group):
    async def list(self) -> builtins.list[models.Site]:
        """List sites, the oldest first."""
        request = Request("GET", "/api/sites", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.Site] = exchange.data(response)
        return answer

    async def create(
        self,
        body: models.CreateSite,
        *,
        idempotency_key: str | None = None,
    ) -> models.NewSite:
        """Create a site. Its connection string and its API key are shown only in this answer."""
        request = exchange.post("/api/sites", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.NewSite = exchange.data(response)
        return answer

    async def show(self, identifier: str) -> models.Site:
        """Return one site, without its secrets."""
        request = Request("GET", f"/api/sites/{segment(identifier)}", repeatable=True)
        response = await self._sender.send(request)
        answer: models.Site = exchange.data(response)
        return answer

    async def update(self, identifier: str, body: models.UpdateSite) -> models.Site:
        """Change a site. Its Redis goes on, and its keys stay, unless less memory has no room."""
        request = Request("PATCH", f"/api/sites/{segment(identifier)}", body=body)
        response = await self._sender.send(request)
        answer: models.Site = exchange.data(response)
        return answer

    async def delete(self, identifier: str) -> models.GoneSite:
        """Delete a site with all its keys."""
        request = Request("DELETE", f"/api/sites/{segment(identifier)}")
        response = await self._sender.send(request)
        answer: models.GoneSite = exchange.data(response)
        return answer

    async def rotate(
        self,
        identifier: str,
        body: models.RotateSite,
        *,
        idempotency_key: str | None = None,
    ) -> models.NewSite:
        """Replace the secrets of a site: the former ones end at once, and connections with them."""
        request = exchange.post(
            f"/api/sites/{segment(identifier)}/rotate",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.NewSite = exchange.data(response)
        return answer

    async def flush(self, identifier: str, *, idempotency_key: str | None = None) -> models.Site:
        """Delete all keys of a site."""
        request = exchange.post(f"/api/sites/{segment(identifier)}/flush", key=idempotency_key)
        response = await self._sender.send(request)
        answer: models.Site = exchange.data(response)
        return answer

    async def stats(self, identifier: str) -> models.SiteStats:
        """Return what a site's Redis reports of its memory, keys, clients and hits."""
        request = Request("GET", f"/api/sites/{segment(identifier)}/stats", repeatable=True)
        response = await self._sender.send(request)
        answer: models.SiteStats = exchange.data(response)
        return answer

    def keys(
        self,
        identifier: str,
        *,
        match: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[models.SiteKey]:
        """List about so many keys, in no order. A page may be empty although more follow."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                f"/api/sites/{segment(identifier)}/keys",
                repeatable=True,
                query={"match": match, "limit": limit, "cursor": cursor},
            )
        )


class Sql(_Group):
    async def run(self, identifier: str, body: models.RunSql) -> models.Run:
        """Run statements with the rights of the owner role, as one transaction.

        A client that closes the connection cancels them. To change something takes
        `data:write`, too; under an `Idempotency-Key` that happens at most once, and a
        repeated request returns 409.
        """
        request = Request("POST", f"/api/databases/{segment(identifier)}/sql", body=body)
        response = await self._sender.send(request)
        answer: models.Run = exchange.data(response)
        return answer

    async def names(self, identifier: str) -> models.Names:
        """Return the names of tables, columns and functions, but for the system's."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/sql/names", repeatable=True)
        response = await self._sender.send(request)
        answer: models.Names = exchange.data(response)
        return answer

    async def texts(self, identifier: str) -> builtins.list[models.SqlText]:
        """List the caller's own texts for a database: saved ones by name, then the last 50 that
        ran.
        """
        request = Request("GET", f"/api/databases/{segment(identifier)}/sql/texts", repeatable=True)
        response = await self._sender.send(request)
        answer: builtins.list[models.SqlText] = exchange.data(response)
        return answer

    async def save(self, identifier: str, body: models.SaveSql) -> builtins.list[models.SqlText]:
        """Save a text by a name, in place of one that has it; at most 100 for a database."""
        request = Request(
            "PUT",
            f"/api/databases/{segment(identifier)}/sql/texts",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.SqlText] = exchange.data(response)
        return answer

    async def forget(self, identifier: str, text_id: str) -> builtins.list[models.SqlText]:
        """Delete one of the caller's texts; return the others."""
        request = Request(
            "DELETE",
            f"/api/databases/{segment(identifier)}/sql/texts/{segment(text_id)}",
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.SqlText] = exchange.data(response)
        return answer


class Users(_Group):
    async def create(
        self,
        body: models.CreateUser,
        *,
        idempotency_key: str | None = None,
    ) -> models.NewUser:
        """Create a user. A generated password is shown only in this answer."""
        request = exchange.post("/api/users", key=idempotency_key, body=body)
        response = await self._sender.send(request)
        answer: models.NewUser = exchange.data(response)
        return answer

    def list(self, *, limit: int | None = None) -> AsyncIterator[models.User]:
        """List users, newest first."""
        return self._sender.pages(
            lambda cursor: Request(
                "GET",
                "/api/users",
                repeatable=True,
                query={"limit": limit, "cursor": cursor},
            )
        )

    async def show(self, identifier: str) -> models.User:
        """Return one user."""
        request = Request("GET", f"/api/users/{segment(identifier)}", repeatable=True)
        response = await self._sender.send(request)
        answer: models.User = exchange.data(response)
        return answer

    async def update(self, identifier: str, body: models.UpdateUser) -> models.User:
        """Rename a user, or disable one: their sessions end and their keys stop working."""
        request = Request("PATCH", f"/api/users/{segment(identifier)}", body=body)
        response = await self._sender.send(request)
        answer: models.User = exchange.data(response)
        return answer

    async def delete(self, identifier: str) -> models.User:
        """Delete a user with their sessions and the keys that they created. Audit entries
        remain.
        """
        request = Request("DELETE", f"/api/users/{segment(identifier)}")
        response = await self._sender.send(request)
        answer: models.User = exchange.data(response)
        return answer

    async def unlock(self, identifier: str, *, idempotency_key: str | None = None) -> models.User:
        """Reset the failed logins of an account."""
        request = exchange.post(f"/api/users/{segment(identifier)}/unlock", key=idempotency_key)
        response = await self._sender.send(request)
        answer: models.User = exchange.data(response)
        return answer

    async def reset_password(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.NewUser:
        """Set a new password for a user, shown only in this answer, and end their sessions."""
        request = exchange.post(
            f"/api/users/{segment(identifier)}/reset-password",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.NewUser = exchange.data(response)
        return answer

    async def remove_totp(
        self,
        identifier: str,
        *,
        idempotency_key: str | None = None,
    ) -> models.User:
        """Remove the authenticator of a user who has lost it, and end their sessions."""
        request = exchange.post(
            f"/api/users/{segment(identifier)}/remove-totp",
            key=idempotency_key,
        )
        response = await self._sender.send(request)
        answer: models.User = exchange.data(response)
        return answer


class Whitelist(_Group):
    async def list(self, identifier: str) -> models.WhitelistListing:
        """List the addresses that may reach the database; an empty list allows all addresses."""
        request = Request("GET", f"/api/databases/{segment(identifier)}/whitelist", repeatable=True)
        response = await self._sender.send(request)
        answer: models.WhitelistListing = exchange.whole(response)
        return answer

    async def add(
        self,
        identifier: str,
        body: models.WhitelistEntryInput,
        *,
        idempotency_key: str | None = None,
    ) -> models.AddedEntry:
        """Allow an address or a range. The first entry closes the database to all other
        addresses.

        It is in force for direct and pooled connections when this answers, and sessions from
        other addresses are ended.
        """
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/whitelist",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.AddedEntry = exchange.data(response)
        return answer

    async def replace(
        self,
        identifier: str,
        body: models.Whitelist,
    ) -> builtins.list[models.WhitelistEntryOutput]:
        """Replace the whole allowlist; an empty one allows all addresses."""
        request = Request(
            "PUT",
            f"/api/databases/{segment(identifier)}/whitelist",
            repeatable=True,
            body=body,
        )
        response = await self._sender.send(request)
        answer: builtins.list[models.WhitelistEntryOutput] = exchange.data(response)
        return answer

    async def preview(
        self,
        identifier: str,
        body: models.PreviewWhitelist,
        *,
        idempotency_key: str | None = None,
    ) -> models.WhitelistPreview:
        """Show what replacing the allowlist would change, and which sessions would end."""
        request = exchange.post(
            f"/api/databases/{segment(identifier)}/whitelist/preview",
            key=idempotency_key,
            body=body,
        )
        response = await self._sender.send(request)
        answer: models.WhitelistPreview = exchange.data(response)
        return answer

    async def remove(self, identifier: str, whitelist_id: str) -> models.RemovedEntry:
        """Remove an address and end its sessions. Removing the last entry allows all addresses."""
        request = Request(
            "DELETE",
            f"/api/databases/{segment(identifier)}/whitelist/{segment(whitelist_id)}",
        )
        response = await self._sender.send(request)
        answer: models.RemovedEntry = exchange.data(response)
        return answer


class Api:
    """The groups of operations."""

    def __init__(self, sender: AsyncSender) -> None:
        self.advice = Advice(sender)
        self.alerts = Alerts(sender)
        self.audit = Audit(sender)
        self.auth = Auth(sender)
        self.backup_schedules = BackupSchedules(sender)
        self.backups = Backups(sender)
        self.blueprints = Blueprints(sender)
        self.branches = Branches(sender)
        self.cache_usage = CacheUsage(sender)
        self.clusters = Clusters(sender)
        self.customers = Customers(sender)
        self.data_api = DataApi(sender)
        self.databases = Databases(sender)
        self.extensions = Extensions(sender)
        self.imports = Imports(sender)
        self.insights = Insights(sender)
        self.instances = Instances(sender)
        self.keys = Keys(sender)
        self.logs = Logs(sender)
        self.maintenance = Maintenance(sender)
        self.marks = Marks(sender)
        self.metrics = Metrics(sender)
        self.migrations = Migrations(sender)
        self.moves = Moves(sender)
        self.operations = Operations(sender)
        self.past = Past(sender)
        self.plans = Plans(sender)
        self.platform = Platform(sender)
        self.prometheus = Prometheus(sender)
        self.proofs = Proofs(sender)
        self.queries = Queries(sender)
        self.restores = Restores(sender)
        self.roles = Roles(sender)
        self.rows = Rows(sender)
        self.site_backups = SiteBackups(sender)
        self.site_judgements = SiteJudgements(sender)
        self.site_proxies = SiteProxies(sender)
        self.site_whitelist = SiteWhitelist(sender)
        self.sites = Sites(sender)
        self.sql = Sql(sender)
        self.users = Users(sender)
        self.whitelist = Whitelist(sender)
