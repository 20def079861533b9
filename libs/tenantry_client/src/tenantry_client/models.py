"""The bodies of requests and answers.

Generated from the OpenAPI document by generator/generate.py: do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


# What a site's cache did: for each step its sums, rates and percentiles.
Analytics = TypedDict(
    "Analytics",
    {
        "site_id": 'str',
        "from": 'str',
        "to": 'str',
        "step_seconds": 'int',
        "series": 'list[Series]',
    },
)


# An external database, or a previewed dump, to copy into an empty database.
ImportDatabase = TypedDict(
    "ImportDatabase",
    {
        "schemas": 'NotRequired[list[str]]',
        "exclude_tables": 'NotRequired[list[str]]',
        "from": 'NotRequired[str | None]',
        "upload_id": 'NotRequired[str | None]',
        "map_roles": 'NotRequired[dict[str, str]]',
        "unmapped_roles": 'NotRequired[Literal["leave_out", "refuse"]]',
        "jobs": 'NotRequired[int]',
        "statement_timeout_seconds": 'NotRequired[float | None]',
        "accept_losses": 'NotRequired[bool]',
    },
)


# What a database had and did. A figure that is not known at all has no series.
Metrics = TypedDict(
    "Metrics",
    {
        "database_id": 'str',
        "from": 'str',
        "to": 'str',
        "step_seconds": 'int',
        "series": 'list[Series]',
    },
)


# An external database to preview.
PreviewImport = TypedDict(
    "PreviewImport",
    {
        "schemas": 'NotRequired[list[str]]',
        "exclude_tables": 'NotRequired[list[str]]',
        "from": 'str',
    },
)


# What a site's cache did in some days. ``redis`` is null while its Redis does not answer.
Report = TypedDict(
    "Report",
    {
        "site_id": 'str',
        "from": 'str',
        "to": 'str',
        "currency": 'str | None',
        "unpriced": 'list[str]',
        "total": 'ModelUsage',
        "models": 'list[ModelUsage]',
        "exact_rate": 'Share',
        "semantic_rate": 'Share',
        "lookup": 'Durations',
        "provider": 'Durations',
        "similarities": 'list[Similarity]',
        "vetoes": 'dict[str, int]',
        "redis": 'Memory | None',
    },
)


# The moment or backup from which to restore a database, and where to.
Restore = TypedDict(
    "Restore",
    {
        "to": 'Literal["latest", "previous"] | str',
        "as": 'NotRequired[Literal["new", "in_place", "rows"] | None]',
        "tables": 'NotRequired[list[str] | None]',
        "name": 'NotRequired[str | None]',
        "friendly_name": 'NotRequired[str | None]',
        "accept_losses": 'NotRequired[bool]',
    },
)


# Short series of a database: a value for each step.
Sparklines = TypedDict(
    "Sparklines",
    {
        "database_id": 'str',
        "from": 'str',
        "step_seconds": 'int',
        "series": 'list[Sparkline]',
    },
)


class AddCluster(TypedDict):
    """A new shared cluster, on a port of TENANTRY_INSTANCE_PORTS."""

    kind: NotRequired[Literal["shared"]]
    name: NotRequired[str | None]


class AddExtension(TypedDict):
    """An extension to install, in an existing schema: ``public``, if none is named."""

    name: str
    schema: NotRequired[str | None]
    restart: NotRequired[bool]


class AddedEntry(TypedDict):
    """An added entry. ``ended_sessions`` counts sessions from addresses that are refused now."""

    id: str
    ip_address: str
    description: str | None
    expires_at: str | None
    created_at: str
    closes: bool
    ended_sessions: int


class Alert(TypedDict):
    """A condition that needs attention, or did. ``database_id`` is null for the platform's."""

    id: str
    rule: str
    subject: str
    severity: Literal["warning", "critical"]
    state: Literal["pending", "firing", "resolved"]
    detail: str
    database_id: str | None
    since: str
    fired_at: str | None
    resolved_at: str | None
    resolved_by: str | None
    acknowledged_at: str | None
    acknowledged_by: str | None
    muted_until: str | None


class AlertSettings(TypedDict):
    """A database's own thresholds; null means the platform's."""

    disk_percent: int | None
    connections_percent: int | None
    transaction_minutes: int | None
    deadlocks: int | None
    rollback_percent: int | None
    slower_percent: int | None


class Analyze(TypedDict):
    """The tables to analyze. Default: all that the database's owner role owns."""

    tables: NotRequired[list[str]]
    lock_timeout_seconds: NotRequired[float]
    statement_timeout_seconds: NotRequired[float | None]


class ApiKey(TypedDict):
    id: str
    name: str
    prefix: str
    status: Literal["active", "revoked", "expired", "suspended"]
    scopes: list[str]
    effective_scopes: list[str]
    customer_email: str | None
    created_by: Creator
    parent: Parent | None
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    created_at: str


class AppliedBlueprint(TypedDict):
    """The operation, with the additional roles that it creates; passwords are shown only once."""

    id: str
    kind: str
    resource_kind: str
    resource_id: str
    resource_name: str | None
    database: OperationDatabase | None
    status: str
    step: str | None
    progress: float
    done_bytes: int | None
    total_bytes: int | None
    bytes_per_second: float | None
    seconds_left: float | None
    cancel_requested: bool
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    roles: list[OpenedRole]


class AppliedMigration(TypedDict):
    """An applied migration file, with its hash when it was applied."""

    version: int
    file: str
    sha256: str
    applied_at: str


class ApplyBlueprint(TypedDict):
    """The blueprint to apply. Default: the newest version of the one that the database has.

    ``manifest`` (the text of a ``blueprint.toml``) and ``files`` define a custom blueprint,
    whose name is ``blueprint``.
    """

    blueprint: NotRequired[str | None]
    version: NotRequired[int | None]
    seeds: NotRequired[str | None]
    statement_timeout_seconds: NotRequired[float | None]
    manifest: NotRequired[str | None]
    files: NotRequired[list[BlueprintFile]]


class AuditEntry(TypedDict):
    id: int
    at: str
    actor: str
    actor_kind: str
    actor_id: str | None
    action: str
    resource_kind: str
    resource_id: str | None
    resource_name: str | None
    resource_title: str | None
    address: str | None
    result: Literal["ok", "accepted", "refused", "failed"]
    request_id: str | None
    details: dict[str, Any]


class Auth(TypedDict):
    """The users of the application."""

    site_url: str | None
    redirect_urls: list[str]
    signup: bool


class AuthBody(TypedDict):
    """Who may become a user of the application, and where links in e-mails lead."""

    site_url: NotRequired[str | None]
    redirect_urls: NotRequired[list[str]]
    signup: NotRequired[bool]


class BackUpCluster(TypedDict):
    """A new backup of a whole cluster."""

    type: NotRequired[Literal["full", "diff", "incr"]]


class Backup(TypedDict):
    """A dump made by pg_dump. Size, hash and version are null while it is being made.

    ``damage`` says what is wrong with the file of a damaged one.
    """

    id: str
    database_id: str
    file_name: str
    format: Literal["custom", "plain"]
    part: Literal["all", "schema", "data"]
    origin: Literal["manual", "scheduled"]
    description: str | None
    status: Literal["making", "ready", "damaged"]
    damage: str | None
    size_bytes: int | None
    sha256: str | None
    postgres_version: str | None
    created_at: str
    finished_at: str | None
    verified_at: str | None


class BackupSchedule(TypedDict):
    """When a database is backed up automatically, and which backups are kept."""

    every: Literal["off", "day", "week"]
    hour: NotRequired[int]
    format: NotRequired[Literal["custom", "plain"]]
    keep_count: NotRequired[int]
    keep_days: NotRequired[int]
    keep_manual_days: NotRequired[int | None]


class Before(TypedDict):
    """What it did in an earlier hour, and the change since: 0.5 is half as much again.

    ``calls_change`` is that of ``calls_per_second``. Both are null if there is no ``now``.
    """

    hour: str
    calls: int
    calls_per_second: float
    mean_ms: float
    incomplete: bool
    mean_change: float | None
    calls_change: float | None


class BigKey(TypedDict):
    key: str
    type: str
    bytes: int


class Blueprint(TypedDict):
    """A schema for databases; ``version`` is the newest."""

    name: str
    title: str
    description: str
    version: int
    extensions: list[str]
    seeds: list[str]


class BlueprintDataApi(TypedDict):
    """The data API of databases that are created with the blueprint, from version ``since`` on."""

    schemas: list[str]
    since: int
    auth: bool


class BlueprintFile(TypedDict):
    """A file of a custom blueprint's folder, in addition to its manifest."""

    name: str
    sql: str


class BlueprintMigration(TypedDict):
    version: int
    title: str


class BlueprintRole(TypedDict):
    """An additional role that the blueprint creates."""

    name: str
    access: Literal["read_only", "read_write"]


class BlueprintsComparison(TypedDict):
    """``drifted`` is whether anything of the blueprint is missing, changed or added to."""

    name: str
    version: int | None
    newest: int
    behind: bool
    migration: int | None
    dirty: bool
    drifted: bool
    differences: list[BlueprintsDifference]


class BlueprintsDifference(TypedDict):
    """An object that differs from the blueprint, in PostgreSQL's own notation.

    ``drift`` is false for an object that was created in addition to the blueprint.
    """

    kind: str
    name: str
    status: Literal["missing", "extra", "changed"]
    expected: str | None
    found: str | None
    drift: bool


class BlueprintsVersion(TypedDict):
    """A version of a blueprint: all migrations up to and including ``migration``."""

    version: int
    migration: int
    summary: str


class Branch(TypedDict):
    """A new branch with its password, valid once the operation that makes it has succeeded."""

    id: str
    name: str | None
    friendly_name: str | None
    database_name: str
    username: str
    owner_email: str | None
    environment: str
    tags: list[str]
    kind: str
    driver: str
    version: int
    container_name: str | None
    cpus: float | None
    memory_mb: int | None
    cluster: str
    plan: str
    max_connections: int
    pool_mode: Literal["transaction", "session"]
    timezone: str
    limits: Limits
    disk: Disk
    shadow: bool
    status: Literal["active", "branching", "deleting", "creating", "stopped", "suspended"]
    auto_suspend_seconds: int | None
    auto_suspend_direct: Literal["wake", "refuse"]
    parent_id: str | None
    branched_at: str | None
    expires_at: str | None
    missing_since: str | None
    status_detail: str | None
    password_changed_at: str
    rotate_password_days: int | None
    password_rotates_at: str | None
    last_active_at: str | None
    watched_since: str | None
    paused: Paused | None
    log: Log
    blueprint: HasBlueprint | None
    created_at: str
    updated_at: str
    password: str
    connection_string: str
    connection_string_pooled: str
    shadow_database_url: str | None
    shadow_database_url_pooled: str | None
    prisma: dict[str, str]
    connection: Connection
    operation_id: NotRequired[str | None]
    operation: Operation


class BringBack(TypedDict):
    """Which rows of a comparison to bring back."""

    kinds: NotRequired[list[Literal["deleted", "changed", "added"]]]
    places: NotRequired[list[int] | None]


class BroughtBack(TypedDict):
    """What became of the rows. `already` were as they are; `altered` by a trigger, of the
    others.

    `rows` are the first 100 of those that were skipped.
    """

    inserted: int
    updated: int
    altered: int
    already: int
    skipped: int
    rows: list[Left]


class CachePriceInput(TypedDict):
    """What a million tokens of a model cost from a day in UTC on."""

    model: str
    valid_from: str
    input: float
    output: float


class CachePriceOutput(TypedDict):
    """What a million tokens of a model cost from a day in UTC on."""

    model: str
    valid_from: str
    input: float
    output: float


class CachePrices(TypedDict):
    """All prices, in one currency. They replace the present ones."""

    currency: str
    prices: list[CachePriceInput]


class Certificate(TypedDict):
    """What the judged hits allow. Without a certificate the cosine in force is 0.95."""

    certified: bool
    budget: float
    cosine: float | None
    steps: list[Step]


class CertifyThreshold(TypedDict):
    """The acceptable share of wrong answers among those that are given."""

    budget: float


class ChangePassword(TypedDict):
    """A new password: at least 16 characters or four words, and not easy to guess."""

    current_password: str
    new_password: str


class ChangeRows(TypedDict):
    """Changes of rows of one table, made as one transaction."""

    schema: NotRequired[str]
    table: str
    changes: list[RowChange]
    dry_run: NotRequired[bool]


class Changed(TypedDict):
    """What was done: the statements, and how many rows they changed; with dry_run none."""

    sql: str
    rows: int


class ChangedExtension(TypedDict):
    """An extension that was added or removed."""

    name: str
    description: str | None
    default_version: str
    installable: bool
    installed_version: str | None
    schema: str | None
    preloads: bool
    pending_restart: bool
    operation_id: str | None


class Channel(TypedDict):
    """Where alerts and events are sent. Of a URL only the host is shown."""

    id: str
    name: str
    kind: Literal["email", "webhook", "slack", "discord"]
    target: str
    events: list[Literal["alert.platform", "alert.database", "database.created", "database.deleted", "database.restored", "database.log_paused", "login.failed"]]
    failures: int
    retry_at: str | None
    last_error: str | None
    last_sent_at: str | None
    created_at: str


class Cluster(TypedDict):
    id: str
    name: str
    kind: str
    driver: str
    version: int
    port: int
    container_name: str | None
    wanted: Literal["running", "stopped", "suspended"]
    ready: bool
    databases: int
    max_databases: int
    backups: Literal["ok", "none", "unknown"] | None
    last_backup_at: str | None
    created_at: str


class ClusterBackups(TypedDict):
    repositories: list[HeldRepository]
    in_progress: bool
    backups: list[PhysicalBackup]


class CompareTable(TypedDict):
    """A table to compare with what it was."""

    table: str


class Compared(TypedDict):
    """The comparison of a drill; null for what it did not reach.

    All ``tables`` of the copy were read. Of those, ``equal_to_live`` match the live ones,
    ``changing`` were written to meanwhile, and ``too_large`` ones were not read in the live
    one. ``changed`` are objects that a restore changes, ``lost`` those that it loses.
    """

    tables: NotRequired[int | None]
    rows: NotRequired[int | None]
    equal_to_live: NotRequired[int | None]
    changing: NotRequired[int | None]
    too_large: NotRequired[int | None]
    amcheck: NotRequired[str | None]
    changed: NotRequired[list[Remark] | None]
    lost: NotRequired[list[Remark] | None]


class Connection(TypedDict):
    """How the cluster's own port is reached."""

    host: str
    host_detail: NotRequired[str | None]
    port: int
    username: str
    password: str
    database: str
    sslmode: str


class Counts(TypedDict):
    """How many rows there are of each kind."""

    deleted: int
    changed: int
    added: int
    same: int


class CreateBackup(TypedDict):
    """A new logical backup of one database."""

    format: NotRequired[Literal["custom", "plain"]]
    part: NotRequired[Literal["all", "schema", "data"]]
    description: NotRequired[str | None]


class CreateBranch(TypedDict):
    """A new branch, with its parent's data."""

    name: str
    friendly_name: NotRequired[str | None]
    environment: NotRequired[Literal["production", "staging", "development"]]
    plan: NotRequired[str | None]
    shadow: NotRequired[bool]
    masked: NotRequired[bool | None]
    at: NotRequired[str | None]
    expires_at: NotRequired[str | None]
    expires_in: NotRequired[int | None]


class CreateChannel(TypedDict):
    """A channel: an e-mail address, or the URL of a webhook, of Slack or of Discord."""

    name: str
    kind: Literal["email", "webhook", "slack", "discord"]
    target: str
    events: NotRequired[list[Literal["alert.platform", "alert.database", "database.created", "database.deleted", "database.restored", "database.log_paused", "login.failed"]] | None]


class CreateDatabase(TypedDict):
    """A new database. One of ``friendly_name`` and ``name`` is required."""

    max_connections: NotRequired[int | None]
    pool_size: NotRequired[int | None]
    reserve_pool_size: NotRequired[int | None]
    disk_quota_bytes: NotRequired[int | None]
    temp_file_limit_bytes: NotRequired[int | None]
    statement_timeout_ms: NotRequired[int | None]
    lock_timeout_ms: NotRequired[int | None]
    idle_in_transaction_session_timeout_ms: NotRequired[int | None]
    cpu_weight: NotRequired[int | None]
    friendly_name: NotRequired[str | None]
    name: NotRequired[str | None]
    timezone: NotRequired[str | None]
    tags: NotRequired[list[str] | None]
    auto_suspend_seconds: NotRequired[int | None]
    auto_suspend_direct: NotRequired[Literal["wake", "refuse"] | None]
    owner_email: NotRequired[str | None]
    new_customer: NotRequired[bool]
    environment: NotRequired[Literal["production", "staging", "development"]]
    kind: NotRequired[Literal["shared", "dedicated"]]
    version: NotRequired[int | None]
    cpus: NotRequired[float | None]
    memory_mb: NotRequired[int | None]
    driver: NotRequired[Literal["process", "docker"] | None]
    cluster: NotRequired[str | None]
    plan: NotRequired[str | None]
    shadow: NotRequired[bool]
    import_from: NotRequired[str | None]
    blueprint: NotRequired[str | None]
    seeds: NotRequired[str | None]


class CreateIndex(TypedDict):
    """The index to create, while its table is used."""

    table: str
    columns: list[str]
    name: NotRequired[str | None]
    method: NotRequired[Literal["btree", "hash", "gin", "gist", "spgist", "brin"]]
    unique: NotRequired[bool]
    lock_timeout_seconds: NotRequired[float]
    statement_timeout_seconds: NotRequired[float | None]


class CreateKey(TypedDict):
    """A new API key. It cannot have more scopes than the key that creates it."""

    name: str
    scopes: list[Literal["admin", "databases:read", "databases:write", "backups:read", "backups:write", "keys:read", "keys:write", "data:read", "data:write", "audit:read", "metrics:read", "platform:read"]]
    customer_email: NotRequired[str | None]
    new_customer: NotRequired[bool]
    expires_at: NotRequired[str | None]


class CreateMark(TypedDict):
    """A moment of a database, by default now."""

    label: str
    at: NotRequired[str | None]


class CreateRole(TypedDict):
    """A new additional role of a database."""

    name: str
    access: NotRequired[Literal["read_only", "read_write"]]
    max_connections: NotRequired[int | None]


class CreateSite(TypedDict):
    """A new site."""

    name: str
    isolation: NotRequired[Literal["dedicated", "shared"]]
    memory_mb: NotRequired[int | None]
    max_clients: NotRequired[int | None]
    eviction: NotRequired[Literal["volatile-lru", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "noeviction"]]
    persistence: NotRequired[Literal["none", "aof"]]
    semantic: NotRequired[Literal["off", "exact", "shadow", "on"]]
    networks: NotRequired[list[str]]


class CreateToken(TypedDict):
    """A token for one user of an application."""

    role: NotRequired[str]
    sub: NotRequired[str | None]
    expires_in_seconds: NotRequired[int]


class CreateUser(TypedDict):
    """A new user. All but administrators belong to ``customer_email``, by default their address.

    A viewer sees what a customer's user sees, but no rows and no backups, and changes
    nothing.
    """

    email: str
    name: NotRequired[str | None]
    role: NotRequired[Literal["administrator", "customer", "viewer"]]
    customer_email: NotRequired[str | None]
    new_customer: NotRequired[bool]
    password: NotRequired[str | None]


class CreatedDatabase(TypedDict):
    """A new database, with the additional roles and the data API of its blueprint.

    Passwords and keys are shown only once. ``blueprint`` has no version while it is still
    being applied; the operation reports it.
    """

    id: str
    name: str | None
    friendly_name: str | None
    database_name: str
    username: str
    owner_email: str | None
    environment: str
    tags: list[str]
    kind: str
    driver: str
    version: int
    container_name: str | None
    cpus: float | None
    memory_mb: int | None
    cluster: str
    plan: str
    max_connections: int
    pool_mode: Literal["transaction", "session"]
    timezone: str
    limits: Limits
    disk: Disk
    shadow: bool
    status: Literal["active", "branching", "deleting", "creating", "stopped", "suspended"]
    auto_suspend_seconds: int | None
    auto_suspend_direct: Literal["wake", "refuse"]
    parent_id: str | None
    branched_at: str | None
    expires_at: str | None
    missing_since: str | None
    status_detail: str | None
    password_changed_at: str
    rotate_password_days: int | None
    password_rotates_at: str | None
    last_active_at: str | None
    watched_since: str | None
    paused: Paused | None
    log: Log
    blueprint: HasBlueprint | None
    created_at: str
    updated_at: str
    password: str
    connection_string: str
    connection_string_pooled: str
    shadow_database_url: str | None
    shadow_database_url_pooled: str | None
    prisma: dict[str, str]
    connection: Connection
    operation_id: NotRequired[str | None]
    roles: NotRequired[list[OpenedRole]]
    data_api: NotRequired[OpenedDataApi | None]
    size_limits: NotRequired[Literal["enforced", "none"] | None]


class Creator(TypedDict):
    """The creator of a key: the origin of the chain of keys that created it."""

    kind: Literal["user", "platform"]
    id: str | None
    name: str | None


class Customer(TypedDict):
    """A customer, and what it has. It can be removed once all numbers are 0."""

    id: str
    email: str
    plan: str
    databases: int
    users: int
    api_keys: int
    backups: int
    sites: int
    operations: int
    created_at: str


class DataApi(TypedDict):
    """The REST API of a database.

    Tokens of the secret before the present one are valid until ``previous_keys_until``.
    """

    database_id: str
    database_name: str
    rest_url: str
    schemas: list[str]
    anonymous: bool
    open: bool
    max_rows: int | None
    statement_timeout_ms: int | None
    jwks_url: str | None
    allowed_origins: list[str]
    auth_url: str | None
    auth: Auth | None
    keys_issued_at: str
    previous_keys_until: str | None
    created_at: str
    updated_at: str


class Database(TypedDict):
    id: str
    name: str | None
    friendly_name: str | None
    database_name: str
    username: str
    owner_email: str | None
    environment: str
    tags: list[str]
    kind: str
    driver: str
    version: int
    container_name: str | None
    cpus: float | None
    memory_mb: int | None
    cluster: str
    plan: str
    max_connections: int
    pool_mode: Literal["transaction", "session"]
    timezone: str
    limits: Limits
    disk: Disk
    shadow: bool
    status: Literal["active", "branching", "deleting", "creating", "stopped", "suspended"]
    auto_suspend_seconds: int | None
    auto_suspend_direct: Literal["wake", "refuse"]
    parent_id: str | None
    branched_at: str | None
    expires_at: str | None
    missing_since: str | None
    status_detail: str | None
    password_changed_at: str
    rotate_password_days: int | None
    password_rotates_at: str | None
    last_active_at: str | None
    watched_since: str | None
    paused: Paused | None
    log: Log
    blueprint: HasBlueprint | None
    created_at: str
    updated_at: str


class DatabaseStats(TypedDict):
    """What a database uses, with its shadow; on an instance, size and connections are all of
    its.

    ``cpu``, ``memory`` and ``uptime``, and their numbers, are of instances, and else null.
    """

    database_id: str
    database_name: str
    status: Literal["creating", "running", "stopped", "suspended", "starting", "error"]
    detail: str | None
    size: str
    size_bytes: int
    size_pretty: str
    connections: int
    active_connections: int
    max_connections: int
    cpu: NotRequired[str | None]
    cpu_percent: NotRequired[float | None]
    memory: NotRequired[str | None]
    memory_bytes: NotRequired[int | None]
    memory_limit_bytes: NotRequired[int | None]
    uptime: NotRequired[str | None]
    uptime_seconds: NotRequired[int | None]
    unmanaged: list[str]
    cache_hit_ratio: float | None
    transactions_committed: int
    transactions_rolled_back: int
    stats_since: str


class Default(TypedDict):
    """The schedule of databases in an environment that have no schedule of their own."""

    every: Literal["off", "day", "week"]
    hour: int
    format: Literal["custom", "plain"]
    keep_count: int
    keep_days: int
    keep_manual_days: int | None
    environment: Literal["production", "staging", "development"]


class Deleted(TypedDict):
    id: str
    status: Literal["deleted", "deleting"]
    operation_id: str


class DeletedBackup(TypedDict):
    id: str
    status: Literal["deleted"]


class DeletedRole(TypedDict):
    id: str
    status: Literal["deleted", "deleting"]


class DeletedSiteBackup(TypedDict):
    id: str
    status: Literal["deleted"]


class Differences(TypedDict):
    """A page of differences; `next` is the place after which to go on, null on the last one."""

    rows: list[PastDifference]
    next: int | None


class DisabledDataApi(TypedDict):
    database_id: str
    status: Literal["disabled", "disabling"]


class Disk(TypedDict):
    """Disk usage of a database and its shadow. ``used_bytes`` is null until it has been
    measured.

    ``detail`` says what the state means, how long it lasts, and what to do; null if it is ok.
    """

    used_bytes: int | None
    quota_bytes: int
    state: Literal["ok", "warning", "read_only", "stopped"]
    detail: NotRequired[str | None]


class Done(TypedDict):
    """The answer to a request that succeeds without further data."""

    done: NotRequired[Literal[True]]


class Durations(TypedDict):
    """Estimated percentiles in milliseconds; null without any."""

    p50_ms: float | None
    p95_ms: float | None


class EndingSessions(TypedDict):
    """Open sessions of a login from one address, which would end."""

    username: str
    address: str
    endpoint: str
    sessions: int


class Event(TypedDict):
    """What has changed a database: `mark`, or an action of the audit such as `database.migrate`."""

    at: str
    kind: str
    label: str | None


class Explain(TypedDict):
    """A statement to explain, and whether to execute it for that."""

    sql: str
    analyze: NotRequired[bool]
    read_only: NotRequired[bool]
    timeout_ms: NotRequired[int]


class Explained(TypedDict):
    """``plan`` is what EXPLAIN (FORMAT JSON) returned; ``nodes`` are its nodes in order."""

    plan: list[dict[str, Any]]
    nodes: list[Node]
    total_cost: float
    planning_ms: float | None
    execution_ms: float | None


class Extension(TypedDict):
    """An extension of the server. It is not ``installable`` if it reaches beyond one database."""

    name: str
    description: str | None
    default_version: str
    installable: bool
    installed_version: str | None
    schema: str | None
    preloads: bool
    pending_restart: bool


class FieldProblem(TypedDict):
    field: str
    message: str
    code: str


class Finding(TypedDict):
    """Something to do about ``object``, and why.

    ``statement`` is SQL that the owner role can run as it is, or a command of ``tenantry``
    where no SQL helps; null if neither can be given. ``index`` is null unless an index is
    missing that can be created while its table is used. ``muted_at`` is null unless the
    finding is muted.
    """

    code: Literal["unindexed_foreign_key", "missing_index", "unused_index", "duplicate_index", "invalid_index", "no_primary_key", "sequence_exhaustion", "transaction_id_age", "long_transaction", "idle_in_transaction", "stale_statistics", "bloat", "settings", "policy_per_row", "row_security_disabled", "pool_too_small", "cache_too_small"]
    severity: Literal["info", "warning", "error"]
    object: str
    detail: str
    statement: str | None
    risk: str
    index: MissingIndex | None
    muted_at: str | None


class GoneSite(TypedDict):
    id: str
    status: Literal["deleted"]


class HasBlueprint(TypedDict):
    """A database's blueprint.

    ``version`` is the one that the platform applied last; GET …/blueprint reads it from the
    database.
    """

    name: str
    version: int | None


class HeldRepository(TypedDict):
    """A repository, and the moment from which on a cluster can be restored from it.

    ``state`` is ``none`` if nothing can be restored, and ``unknown`` if the repository cannot
    be read; ``problem`` says why.
    """

    number: int
    place: str
    state: Literal["ok", "none", "unknown"]
    problem: str | None
    restorable_from: str | None


class Hit(TypedDict):
    """A stored question that was found for another one. Shadow hits were not given."""

    id: str
    prompt: str
    stored_prompt: str
    entry_id: str
    similarity: float
    cosine: float
    served: bool


class Index(TypedDict):
    """An index. ``last_scan_at`` is null before PostgreSQL 16, and if there was no scan."""

    index: str
    definition: str
    unique: bool
    primary_key: bool
    valid: bool
    size_bytes: int
    scans: int
    last_scan_at: str | None
    cache_hit_ratio: float | None


class InsightsSession(TypedDict):
    """A session of the database's owner role or of an additional role.

    ``client_address`` of a pooled session is that of the client that has the server
    connection at present, null if none has. ``query`` is the present or last statement,
    without secrets; its constants are there with the scope ``audit:read`` only.
    ``blocked_by`` are sessions of this list; ``blocked_by_others`` is whether another one,
    such as autovacuum, blocks it, too.
    """

    pid: int
    database_name: str
    role: str
    application: str
    port: Literal["direct", "pooled"]
    client_address: str | None
    state: str | None
    query: str
    query_id: str | None
    started_at: str
    transaction_started_at: str | None
    query_started_at: str | None
    age_seconds: float
    transaction_seconds: float | None
    state_seconds: float | None
    wait_event_type: str | None
    wait_event: str | None
    blocked_by: list[int]
    blocked_by_others: bool


class InsightsTable(TypedDict):
    """A table or materialized view; ``size_bytes`` is with its indexes and TOAST.

    ``rows`` and ``dead_rows`` are the server's estimates. ``bloat_bytes`` estimates what a
    rewrite would return, null if unknown. ``root`` is the partitioned table that it is a part
    of. Scans and cache hits are counted since ``counted_since``.
    """

    table: str
    kind: Literal["table", "materialized_view"]
    root: str | None
    size_bytes: int
    heap_bytes: int
    index_bytes: int
    rows: int | None
    dead_rows: int
    bloat_bytes: int | None
    modified_since_analyze: int
    last_vacuum_at: str | None
    last_analyze_at: str | None
    sequential_scans: int
    sequential_rows_read: int
    index_scans: int
    cache_hit_ratio: float | None
    counted_since: str
    indexes: list[Index]


class InstanceSettings(TypedDict):
    """The parameters that can be set for an instance.

    ``parameters`` are those that its owner has set, ``pending_restart`` those of which
    another value is in force once it has been restarted.
    """

    parameters: dict[str, str]
    pending_restart: list[str]
    operation_id: str | None
    settings: list[Setting]


class InstancesVersion(TypedDict):
    """A major version of PostgreSQL that this machine has, or that apt offers it."""

    major: int
    minor: str | None
    offered: str | None
    installed: bool
    end_of_life: str


class JudgeHit(TypedDict):
    """Whether the stored answer is right for what was asked."""

    correct: bool


class Judged(TypedDict):
    id: str
    status: Literal["judged"]


class KindUse(TypedDict):
    kind: str
    keys: int
    bytes: int


class LastAttempt(TypedDict):
    """The last backup that the schedule started. A failed one is retried twice."""

    begun_at: str
    tries: int
    status: Literal["queued", "running", "succeeded", "failed", "cancelled", "refused"]
    error: str | None


class Latest(TypedDict):
    """What a database had in its newest sample, and did in the time before it.

    Connections are direct ones and those of the pooler. Rates are 0 if nothing happened
    since.
    """

    database_id: str
    database_name: str
    name: str | None
    friendly_name: str | None
    environment: str
    sampled_at: str
    transactions_per_second: float | None
    connections_active: int
    connections_idle: int
    connections_in_transaction: int
    clients_waiting: int | None
    longest_transaction_seconds: float | None
    cache_hit_ratio: float | None
    cpu_percent: float | None
    temporary_bytes_per_second: float | None
    wal_bytes_per_second: float | None
    size_bytes: int | None


class Left(TypedDict):
    """A row that was left as it is.

    `changed_since`, `deleted_since`, `exists_again`: it is not what was compared any more.
    `unique_or_trigger`: another row has one of its unique values, or a trigger has refused
    it. `refused_by_trigger`, `cannot_be_set`: PostgreSQL does not let it be changed.
    `others_refer`: a foreign key with ON UPDATE CASCADE, SET NULL or SET DEFAULT would change
    rows that refer to it.
    """

    schema: str
    table: str
    key: list[str]
    reason: Literal["changed_since", "deleted_since", "exists_again", "unique_or_trigger", "refused_by_trigger", "cannot_be_set", "others_refer"]


class Limits(TypedDict):
    """Limits of a database. A timeout of 0 means none; each session may change its timeouts."""

    max_connections: int
    pool_size: int
    reserve_pool_size: int
    disk_quota_bytes: int
    temp_file_limit_bytes: int
    statement_timeout_ms: int
    lock_timeout_ms: int
    idle_in_transaction_session_timeout_ms: int
    cpu_weight: int


class Loaded(TypedDict):
    rows: int


class Lock(TypedDict):
    """The lock that a session waits for; its type and mode are as in pg_locks."""

    lock_type: str
    mode: str
    relation: str | None
    seconds: float | None


class Log(TypedDict):
    """Which statements of a database are logged for its owner."""

    statements: Literal["none", "ddl", "mod", "all"]
    min_duration_ms: int | None
    errors: bool
    keep_days: int | None
    paused_until: str | None


class LogEntry(TypedDict):
    """An event of a session, or a ``notice`` of the platform about the log itself.

    ``application`` is the client's own name for itself. ``client_address`` is null through
    the pooler.
    """

    id: str
    time: str
    kind: Literal["statement", "duration", "error", "notice"]
    database_name: str | None
    role: str | None
    application: str | None
    client_address: str | None
    session_id: str | None
    statement: str | None
    truncated: bool
    duration_ms: float | None
    sqlstate: str | None
    message: str | None


class LoginCode(TypedDict):
    """The second step of a login: a code of the authenticator, or a recovery code."""

    challenge: str
    code: str
    device_token: NotRequired[str | None]


class LoginInput(TypedDict):
    """Credentials for a login."""

    email: str
    password: str
    device_token: NotRequired[str | None]


class LoginOutput(TypedDict):
    """Either a session, or a challenge that a code answers at POST /api/auth/mfa."""

    status: Literal["signed_in", "mfa_required"]
    token: str | None
    challenge: str | None
    device_token: str | None
    expires_at: str
    user: User | None


class LookBack(TypedDict):
    """The moment at which to look at a database."""

    to: str


class Mark(TypedDict):
    """A named moment of a database."""

    id: str
    label: str
    at: str
    created_at: str


class Masking(TypedDict):
    """SQL that masks each branch before clients can connect; null means none."""

    sql: str | None
    updated_at: str | None


class Me(TypedDict):
    """The caller: a user in a session, or an API key."""

    kind: Literal["user", "api_key"]
    id: str
    name: str
    scopes: list[str]
    customer_email: str | None
    user: User | None
    recovery_codes_left: int | None


class Memory(TypedDict):
    """What takes a site's memory and time, by a sample of ``sampled`` of its keys.

    Names of keys are null without the scope data:read.
    """

    memory_bytes: int
    memory_limit_bytes: int
    evicted_keys: int | None
    keys: int
    sampled: int
    kinds: list[KindUse]
    big_keys: list[BigKey] | None
    slow_commands: list[SlowCommand] | None


class MigrateDatabase(TypedDict):
    """The action on a database's migrations, one of golang-migrate's commands."""

    files: NotRequired[list[MigrationFile]]
    accept_edited: NotRequired[bool]
    accept_skipped: NotRequired[bool]
    beside: NotRequired[bool]
    lock_timeout_seconds: NotRequired[float]
    statement_timeout_seconds: NotRequired[float | None]
    retries: NotRequired[int]
    action: NotRequired[Literal["up", "down", "goto", "force"]]
    n: NotRequired[int | None]
    version: NotRequired[int | None]


class MigrateMany(TypedDict):
    """A selection of databases to migrate to the last file."""

    files: NotRequired[list[MigrationFile]]
    accept_edited: NotRequired[bool]
    accept_skipped: NotRequired[bool]
    beside: NotRequired[bool]
    lock_timeout_seconds: NotRequired[float]
    statement_timeout_seconds: NotRequired[float | None]
    retries: NotRequired[int]
    environment: NotRequired[Literal["production", "staging", "development"] | None]
    owner_email: NotRequired[str | None]
    blueprint: NotRequired[str | None]
    without_blueprint: NotRequired[bool]
    tags: NotRequired[list[str]]
    database_ids: NotRequired[list[str] | None]
    exclude_ids: NotRequired[list[str]]
    dry_run: NotRequired[bool]
    parallel: NotRequired[int]
    canary: NotRequired[int]
    max_failures: NotRequired[int]


class MigrationFile(TypedDict):
    """A migration file, named as golang-migrate expects."""

    name: str
    sql: str


class Migrations(TypedDict):
    """The migrations of a database; ``version`` is null before the first one.

    Migrations that golang-migrate itself ran are not in ``applied``. A database that is
    ``dirty`` and ``running`` has a run in progress; otherwise a file failed in the middle.
    """

    version: int | None
    dirty: bool
    running: bool
    applied: list[AppliedMigration]


class MissingIndex(TypedDict):
    """What ``POST /api/databases/{id}/indexes`` takes to create an index."""

    table: str
    columns: list[str]


class ModelUsage(TypedDict):
    """Requests and tokens of one model, or of all. Money is null without a price."""

    model: str
    exact_hits: int
    semantic_hits: int
    misses: int
    bypasses: int
    shared: int
    failures: int
    tokens_in: int
    tokens_out: int
    saved_in: int
    saved_out: int
    embeddings_found: int
    embeddings_asked: int
    hit_rate: Share
    saved: float | None
    paid: float | None
    priced_from: str | None


class MoveDatabase(TypedDict):
    """Where to move a database, and how long its clients may wait."""

    kind: Literal["shared", "dedicated"]
    cluster: NotRequired[str | None]
    version: NotRequired[int | None]
    cpus: NotRequired[float | None]
    memory_mb: NotRequired[int | None]
    driver: NotRequired[Literal["process", "docker"] | None]
    max_wait_seconds: NotRequired[float]
    accept_losses: NotRequired[bool]
    dry_run: NotRequired[bool]


class Mute(TypedDict):
    """Until when nothing is sent about an alert's rule and subject."""

    until: str


class MuteAdvice(TypedDict):
    """A finding that is not to be reported any more."""

    code: Literal["unindexed_foreign_key", "missing_index", "unused_index", "duplicate_index", "invalid_index", "no_primary_key", "sequence_exhaustion", "transaction_id_age", "long_transaction", "idle_in_transaction", "stale_statistics", "bloat", "settings", "policy_per_row", "row_security_disabled", "pool_too_small", "cache_too_small"]
    object: str


class Muting(TypedDict):
    """A finding that was muted, or is reported again."""

    code: Literal["unindexed_foreign_key", "missing_index", "unused_index", "duplicate_index", "invalid_index", "no_primary_key", "sequence_exhaustion", "transaction_id_age", "long_transaction", "idle_in_transaction", "stale_statistics", "bloat", "settings", "policy_per_row", "row_security_disabled", "pool_too_small", "cache_too_small"]
    object: str


class Names(TypedDict):
    """Names in a database, for completion: the columns of tables and views, by schema and name.

    `complete` is false if there are more.
    """

    tables: dict[str, dict[str, list[str]]]
    functions: list[str]
    complete: bool


class NewApiKey(TypedDict):
    """An API key with its secret, which is shown only once and stored as a hash."""

    id: str
    name: str
    prefix: str
    status: Literal["active", "revoked", "expired", "suspended"]
    scopes: list[str]
    effective_scopes: list[str]
    customer_email: str | None
    created_by: Creator
    parent: Parent | None
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    created_at: str
    key: str


class NewChannel(TypedDict):
    """A new channel; a webhook's with the key that its messages are signed with, shown once."""

    id: str
    name: str
    kind: Literal["email", "webhook", "slack", "discord"]
    target: str
    events: list[Literal["alert.platform", "alert.database", "database.created", "database.deleted", "database.restored", "database.log_paused", "login.failed"]]
    failures: int
    retry_at: str | None
    last_error: str | None
    last_sent_at: str | None
    created_at: str
    signing_key: str | None
    warning: str | None


class NewSite(TypedDict):
    """A site with its new secrets, which are shown only once; null for one that was not
    replaced.

    ``redis_url`` has the password, if that is new.
    """

    id: str
    name: str
    status: Literal["active", "starting", "deleting"]
    redis_url: str
    cache_url: str
    key_prefix: str
    memory_mb: int
    max_clients: int
    eviction: Literal["volatile-lru", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "noeviction"]
    persistence: Literal["none", "aof"]
    semantic: Literal["off", "exact", "shadow", "on"]
    isolation: Literal["dedicated", "shared"]
    networks: list[str]
    reached_from: Literal["everywhere", "allowlist", "this_machine"]
    reached_why: str | None
    created_at: str
    updated_at: str
    api_key: str | None


class NewUser(TypedDict):
    """A user, with the generated password if any, which is shown only once and stored as a hash."""

    id: str
    email: str
    name: str | None
    role: Literal["administrator", "customer", "viewer"]
    customer_email: str | None
    customer_databases: int | None
    mfa: bool
    disabled_at: str | None
    locked_until: str | None
    last_login_at: str | None
    created_at: str
    password: str | None


class Node(TypedDict):
    """A node of the plan, below the last one before it with a smaller ``depth``.

    ``share`` is its own part of the plan's time or, if it was not executed, of its cost.
    ``row_error`` is by which factor the planner was wrong about the number of rows.
    """

    depth: int
    node_type: str
    relation: str | None
    index: str | None
    self_cost: float
    self_ms: float | None
    planned_rows: float
    actual_rows: float | None
    loops: float | None
    row_error: float | None
    share: float
    expensive: bool


class Now(TypedDict):
    """What a statement has done in the present hour, which begins at ``hour``, so far."""

    hour: str
    calls: int
    calls_per_second: float
    mean_ms: float
    incomplete: bool


class OpenedDataApi(TypedDict):
    """A data API; its new secret and keys, which are shown only once, or null for those it had."""

    database_id: str
    database_name: str
    rest_url: str
    schemas: list[str]
    anonymous: bool
    open: bool
    max_rows: int | None
    statement_timeout_ms: int | None
    jwks_url: str | None
    allowed_origins: list[str]
    auth_url: str | None
    auth: Auth | None
    keys_issued_at: str
    previous_keys_until: str | None
    created_at: str
    updated_at: str
    jwt_secret: str | None
    anon_key: str | None
    service_role_key: str | None


class OpenedDatabase(TypedDict):
    """A database with its password, which is shown only once and not stored."""

    id: str
    name: str | None
    friendly_name: str | None
    database_name: str
    username: str
    owner_email: str | None
    environment: str
    tags: list[str]
    kind: str
    driver: str
    version: int
    container_name: str | None
    cpus: float | None
    memory_mb: int | None
    cluster: str
    plan: str
    max_connections: int
    pool_mode: Literal["transaction", "session"]
    timezone: str
    limits: Limits
    disk: Disk
    shadow: bool
    status: Literal["active", "branching", "deleting", "creating", "stopped", "suspended"]
    auto_suspend_seconds: int | None
    auto_suspend_direct: Literal["wake", "refuse"]
    parent_id: str | None
    branched_at: str | None
    expires_at: str | None
    missing_since: str | None
    status_detail: str | None
    password_changed_at: str
    rotate_password_days: int | None
    password_rotates_at: str | None
    last_active_at: str | None
    watched_since: str | None
    paused: Paused | None
    log: Log
    blueprint: HasBlueprint | None
    created_at: str
    updated_at: str
    password: str
    connection_string: str
    connection_string_pooled: str
    shadow_database_url: str | None
    shadow_database_url_pooled: str | None
    prisma: dict[str, str]
    connection: Connection
    operation_id: NotRequired[str | None]


class OpenedRole(TypedDict):
    """An additional role with its password, which is shown only once and not stored."""

    id: str
    database_id: str
    name: str
    username: str
    access: Literal["read_only", "read_write"]
    max_connections: int
    status: Literal["active", "deleting"]
    connection_string: str
    connection_string_pooled: str
    prisma: dict[str, str]
    connection: Connection
    password_changed_at: str
    created_at: str
    updated_at: str
    password: str


class Operation(TypedDict):
    id: str
    kind: str
    resource_kind: str
    resource_id: str
    resource_name: str | None
    database: OperationDatabase | None
    status: str
    step: str | None
    progress: float
    done_bytes: int | None
    total_bytes: int | None
    bytes_per_second: float | None
    seconds_left: float | None
    cancel_requested: bool
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class OperationDatabase(TypedDict):
    """The database of an operation. Names and environment are null once it is deleted."""

    id: str
    database_name: str
    name: NotRequired[str | None]
    friendly_name: NotRequired[str | None]
    environment: NotRequired[str | None]


class Parent(TypedDict):
    """The key that created a key."""

    id: str
    name: str


class Past(TypedDict):
    """A database as it was at `moment`. It can be read from when it has an expiry until then."""

    id: str
    moment: str
    created_at: str
    expires_at: str | None


class PastColumn(TypedDict):
    """A column that is compared, with the name of its type as PostgreSQL has it."""

    name: str
    type: str


class PastComparison(TypedDict):
    """What a table was and is.

    Rows are the same by `key`, the primary key; if that is empty, whole rows are compared.
    Columns that were added or dropped, and generated ones, are not compared. `truncated` is
    whether only the first 100,000 differences are listed (fewer where keys are long);
    `blocked` is why rows cannot be brought back. `moved` is the number of deleted rows whose
    values an added row has: if their keys were changed, they are there twice after they are
    brought back.
    """

    id: str
    schema: str
    table: str
    key: list[str]
    columns: list[PastColumn]
    only_then: list[str]
    only_now: list[str]
    counts: Counts
    truncated: bool
    moved: int
    blocked: str | None


class PastDifference(TypedDict):
    """A row that differs, by its place in the comparison. Values and keys are text, cut at 1,000
    characters.

    `then` and `now` are in the order of the comparison's columns; null where there is no such
    row. `restored` is whether the row is now as it was then, because it was brought back
    since.
    """

    place: int
    kind: Literal["deleted", "changed", "added"]
    key: list[str]
    then: list[str | None] | None
    now: list[str | None] | None
    restored: bool


class Paused(TypedDict):
    """A pause: no client can connect until ``until``; ``detail`` says why and what to do."""

    until: str
    reason: Literal["wal", "notify", "log", "temp", "settings"]
    detail: str


class PersonSession(TypedDict):
    id: str
    current: bool
    address: str | None
    user_agent: str | None
    created_at: str
    last_used_at: str
    expires_at: str


class PhysicalBackup(TypedDict):
    """A backup of a whole cluster. ``stored_bytes`` is the space that it alone takes."""

    repository: int
    label: str
    type: Literal["full", "diff", "incr"]
    started_at: str
    finished_at: str
    size_bytes: int
    stored_bytes: int
    based_on: str | None
    damaged: bool
    left: bool


class Plan(TypedDict):
    """Limits of a database, and sizes of what a customer creates; null: it has no such limit."""

    max_connections: int
    pool_size: int
    reserve_pool_size: int
    disk_quota_bytes: int
    temp_file_limit_bytes: int
    statement_timeout_ms: int
    lock_timeout_ms: int
    idle_in_transaction_session_timeout_ms: int
    cpu_weight: int
    name: str
    longest_statement_seconds: int
    max_instances: int | None
    instance_cpus: float | None
    instance_memory_mb: int | None
    max_sites: int | None
    site_memory_mb: int | None
    site_max_clients: int | None


class PoolCounters(TypedDict):
    """The traffic of one database's pools since the pooler started.

    ``query_seconds`` is the duration of all queries together, ``wait_seconds`` what clients
    have waited for a server connection.
    """

    database: str
    transactions: int
    queries: int
    bytes_received: int
    bytes_sent: int
    average_transaction_seconds: float
    average_query_seconds: float
    average_wait_seconds: float
    query_seconds: float
    wait_seconds: float


class PoolUse(TypedDict):
    """One pool: clients served and waiting, server connections active and idle."""

    database: str
    username: str
    clients_active: int
    clients_waiting: int
    servers_active: int
    servers_idle: int
    longest_wait_seconds: float


class PoolerState(TypedDict):
    """The state of the pooler, as the API shows it; ``memory_bytes`` is that of its process."""

    version: str
    pool_size: int
    budget: int
    clients: int
    servers: int
    memory_bytes: int
    memory_limit_bytes: int
    pools: list[PoolUse]
    stats: list[PoolCounters]


class Preview(TypedDict):
    """The contents of an import. A preview changes nothing."""

    version: str | None
    size_bytes: int
    schemas: list[str]
    tables: list[PreviewTable]
    extensions: list[PreviewExtension]
    roles: list[PreviewRole]
    logins: list[str]
    warnings: list[str]
    upload_id: str | None


class PreviewExtension(TypedDict):
    """An extension, and whether it is available here; if not, it is left out.

    `used_by` names what depends on it at the source; it is empty for a dump, where it is
    unknown.
    """

    name: str
    available: bool
    used_by: list[str]


class PreviewRole(TypedDict):
    """A role of the source: how many policies and grants name it, how many objects it owns.

    `login` is the role of the database that replaces it; if null, its policies and grants are
    left out.
    """

    name: str
    policies: int
    grants: int
    owns: int
    login: str | None


class PreviewTable(TypedDict):
    """A table to copy; its size includes its indexes and is null for a dump."""

    schema: str
    name: str
    size_bytes: int | None


class PreviewWhitelist(TypedDict):
    """A whole allowlist; an empty one allows connections from everywhere."""

    entries: list[WhitelistEntryInput]


class PriceList(TypedDict):
    """The operator's prices, by model and day."""

    currency: str | None
    prices: list[CachePriceOutput]


class Problem(TypedDict):
    """A failed request (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    success: Literal[False]
    code: str
    request_id: str
    hint: NotRequired[str | None]
    errors: NotRequired[list[FieldProblem] | None]


class PromoteBranch(TypedDict):
    """Options for promoting a branch into its parent."""

    accept_losses: NotRequired[bool]


class ProofInput(TypedDict):
    """The password again, so that access to an open session alone does not suffice."""

    password: str


class ProofOutput(TypedDict):
    """The result of a drill: restoring the database into a sandbox, to ``moment``."""

    id: str
    database_id: str
    at: str
    moment: str | None
    seconds: float
    passed: bool
    compared: Compared
    error: str | None


class PutDataApi(TypedDict):
    """The whole configuration of a data API; what is left out has its default."""

    schemas: NotRequired[list[str]]
    anonymous: NotRequired[bool]
    open: NotRequired[bool]
    max_rows: NotRequired[int | None]
    statement_timeout_ms: NotRequired[int | None]
    jwks_url: NotRequired[str | None]
    allowed_origins: NotRequired[list[str]]
    auth: NotRequired[AuthBody | None]
    jwt_secret: NotRequired[str | None]


class QueryListing(TypedDict):
    """Statements, counted since ``counted_since``.

    ``incomplete_since`` is not null if the server has evicted entries since then.
    ``recorded`` is false while new sessions' statements are not recorded, since their texts
    took too much space.
    """

    success: NotRequired[Literal[True]]
    count: int
    next_cursor: NotRequired[str | None]
    data: list[QueryStatistics]
    counted_since: str
    incomplete_since: str | None
    recorded: bool


class QueryStatistics(TypedDict):
    """A statement with parameters in place of its constants, of all roles of the database.

    ``share`` is its part of the time of all statements. ``wal_bytes`` is an estimate.
    ``min_ms`` and ``max_ms`` are null with ``since``. ``now`` and what follows it are null
    for an hour in which it was not executed, or not one of the 50 that took most time, or
    that was not measured. ``own`` is whether it is Tenantry's own, as of the console that
    shows rows.
    """

    query_id: str
    database_name: str
    query: str
    calls: int
    total_ms: float
    mean_ms: float
    min_ms: float | None
    max_ms: float | None
    rows: int
    share: float
    cache_hit_ratio: float | None
    blocks_read: int
    temp_bytes: int
    wal_bytes: int
    own: bool
    now: Now | None
    hour_before: Before | None
    day_before: Before | None
    week_before: Before | None


class Rate(TypedDict):
    """A share of cases with its interval of 95 %; null without any case."""

    cases: int
    found: int
    share: float | None
    low: float
    high: float


class RecoveryCodes(TypedDict):
    recovery_codes: list[str]


class Reindex(TypedDict):
    """The indexes to rebuild, and the tables of which to rebuild all indexes."""

    indexes: NotRequired[list[str]]
    tables: NotRequired[list[str]]
    lock_timeout_seconds: NotRequired[float]
    statement_timeout_seconds: NotRequired[float | None]


class Remark(TypedDict):
    """An object that was not restored unchanged, and PostgreSQL's reason."""

    object: str
    reason: str


class RemoveTotp(TypedDict):
    """The password and a code of the authenticator."""

    password: str
    code: str


class RemovedEntry(TypedDict):
    """A removed entry. ``ended_sessions`` counts the sessions from its addresses."""

    id: str
    ip_address: str
    description: str | None
    expires_at: str | None
    created_at: str
    opens: bool
    ended_sessions: int


class Replaced(TypedDict):
    """A retained database, replaced, or left by a move. It does not count towards the quota.

    Clients cannot connect to it.
    """

    id: str
    database_id: str
    database_name: str
    operation_id: str
    size_bytes: int
    can_be_put_back: bool
    replaced_at: str
    expires_at: str


class Reset(TypedDict):
    """The database whose statements are counted again."""

    id: str


class ResetBranch(TypedDict):
    """The parent's state to which to reset a branch."""

    at: NotRequired[str | None]
    masked: NotRequired[bool | None]
    accept_losses: NotRequired[bool]


class RestoreCluster(TypedDict):
    """The moment to which to restore a whole cluster."""

    to: str


class RestoreSite(TypedDict):
    """The backup to restore."""

    backup_id: NotRequired[str | None]


class Result(TypedDict):
    """What one statement returned.

    Integers up to 2^53 and booleans are such, NULL is null, and everything else is text, as
    PostgreSQL writes it. ``row_count`` is how many rows it returned or changed; ``truncated``
    is whether there were more than ``rows`` has. ``cut`` are values of which only the first
    64 KiB are there: row and column, from 0, and the bytes of the whole. ``notices`` are the
    server's.
    """

    command: str
    columns: list[SqlRunsColumn]
    rows: list[list[Any]]
    row_count: int
    truncated: bool
    cut: list[list[int]]
    notices: list[str]
    duration_ms: float


class Role(TypedDict):
    """An additional role of a database. Its connection strings have a mask for the password."""

    id: str
    database_id: str
    name: str
    username: str
    access: Literal["read_only", "read_write"]
    max_connections: int
    status: Literal["active", "deleting"]
    connection_string: str
    connection_string_pooled: str
    prisma: dict[str, str]
    connection: Connection
    password_changed_at: str
    created_at: str
    updated_at: str


class RotateDataApi(TypedDict):
    """A new secret, and how long tokens of the present one remain valid."""

    overlap_seconds: NotRequired[int]


class RotateSite(TypedDict):
    """The secrets to replace."""

    secrets: NotRequired[Literal["all", "password", "api_key"]]


class RowChange(TypedDict):
    """A row to insert, update or delete."""

    action: Literal["insert", "update", "delete"]
    key: NotRequired[dict[str, bool | int | str | None]]
    xmin: NotRequired[str | None]
    values: NotRequired[dict[str, bool | int | str | None]]


class Run(TypedDict):
    """The results of the statements, in order."""

    results: list[Result]


class RunSql(TypedDict):
    """Statements to run, as one transaction."""

    sql: str
    read_only: NotRequired[bool | None]
    timeout_ms: NotRequired[int]
    max_rows: NotRequired[int]
    remember: NotRequired[bool]


class SaveSql(TypedDict):
    """A text to save by a name, for the caller alone."""

    name: str
    sql: str


class Schedule(TypedDict):
    """The backup schedule of a database.

    ``source`` is ``own`` for the database's own schedule, ``default`` for its environment's.
    """

    every: Literal["off", "day", "week"]
    hour: int
    format: Literal["custom", "plain"]
    keep_count: int
    keep_days: int
    keep_manual_days: int | None
    source: Literal["own", "default"]
    next_at: str | None
    last_attempt: LastAttempt | None


class SchemaDifference(TypedDict):
    """An object that differs, with its definitions in PostgreSQL's own notation."""

    kind: str
    name: str
    status: Literal["added", "removed", "changed"]
    parent: str | None
    branch: str | None


class Series(TypedDict):
    """A figure over time: at each point its mean rate, or its maximum, from there to the next."""

    name: str
    unit: str
    points: list[list[str | float | None]]


class SetLog(TypedDict):
    """Which statements of a database to log; an omitted setting is turned off."""

    statements: NotRequired[Literal["none", "ddl", "mod", "all"]]
    min_duration_ms: NotRequired[int | None]
    errors: NotRequired[bool]
    keep_days: NotRequired[int | None]


class SetMasking(TypedDict):
    """SQL that masks each branch of a database before clients can connect; null means none."""

    sql: str | None


class SetParameters(TypedDict):
    """Parameters of an instance's server to set; one that is null is the default again."""

    parameters: NotRequired[dict[str, str | None]]
    restart: NotRequired[bool]


class SetThresholds(TypedDict):
    """A database's own thresholds; the platform's are in force for one that is left out."""

    disk_percent: NotRequired[int | None]
    connections_percent: NotRequired[int | None]
    transaction_minutes: NotRequired[int | None]
    deadlocks: NotRequired[int | None]
    rollback_percent: NotRequired[int | None]
    slower_percent: NotRequired[int | None]


class Setting(TypedDict):
    """A parameter of PostgreSQL that can be set for an instance."""

    name: str
    value: str
    set_to: str | None
    default: str
    unit: str | None
    type: Literal["bool", "integer", "real", "enum", "string"]
    min: str | None
    max: str | None
    choices: list[str] | None
    context: str
    category: str
    description: str
    pending_restart: bool


class Share(TypedDict):
    """A share of cases, and the interval that has the true one with a confidence of 95 %."""

    cases: int
    found: int
    share: float | None
    low: float
    high: float


class SignalSession(TypedDict):
    """Which session is meant, so that a later one with its process ID is left alone."""

    started_at: NotRequired[str | None]


class SignalledSession(TypedDict):
    """The session that got the signal. ``done`` is false if a terminated one has not ended yet."""

    pid: int
    database_name: str
    role: str
    started_at: str
    done: bool


class Similarity(TypedDict):
    """Searches by the cosine of the nearest stored question: from this one to the next."""

    cosine: float
    searches: int


class Site(TypedDict):
    """A site of the AI cache. ``redis_url`` is without the password."""

    id: str
    name: str
    status: Literal["active", "starting", "deleting"]
    redis_url: str
    cache_url: str
    key_prefix: str
    memory_mb: int
    max_clients: int
    eviction: Literal["volatile-lru", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "noeviction"]
    persistence: Literal["none", "aof"]
    semantic: Literal["off", "exact", "shadow", "on"]
    isolation: Literal["dedicated", "shared"]
    networks: list[str]
    reached_from: Literal["everywhere", "allowlist", "this_machine"]
    reached_why: str | None
    created_at: str
    updated_at: str


class SiteBackup(TypedDict):
    """A copy of a site's data, in the platform's repositories. Null is what is not known yet."""

    id: str
    site_id: str
    site_name: str
    origin: Literal["manual", "scheduled"]
    status: Literal["making", "ready"]
    size_bytes: int | None
    memory_bytes: int | None
    keys: int | None
    server: str | None
    sha256: str | None
    created_at: str
    finished_at: str | None


class SiteKey(TypedDict):
    key: str
    type: str
    ttl_seconds: int | None
    bytes: int


class SiteProxy(TypedDict):
    """The settings of a site's proxy. Of keys it says only whether there is one."""

    openai_url: str
    has_openai_key: bool
    anthropic_url: str
    has_anthropic_key: bool
    requests_per_minute: int | None
    tokens_per_day: int | None
    most_temperature: float


class SiteStats(TypedDict):
    """What a site holds now, and has done since its Redis started.

    Null is what a shared Redis counts for all its sites only.
    """

    server: str
    uptime_seconds: int
    memory_bytes: int
    memory_limit_bytes: int
    process_bytes: int
    keys: int
    clients: int
    max_clients: int
    commands: int | None
    hits: int | None
    misses: int | None
    evicted_keys: int | None
    expired_keys: int | None


class SlowCommand(TypedDict):
    at: str
    milliseconds: float
    command: str
    key: str


class Sparkline(TypedDict):
    name: str
    unit: str
    values: list[float | None]


class SqlRunsColumn(TypedDict):
    """A column of a result, with the name of its type as PostgreSQL has it."""

    name: str
    type: str


class SqlText(TypedDict):
    """A text of the caller's: saved by a name, or, without one, run the last time at `used_at`."""

    id: str
    name: str | None
    sql: str
    used_at: str


class StandingBlueprint(TypedDict):
    """The blueprint of a database, and its version as read from the database.

    ``version`` is null if no version is complete in it; ``migration`` and ``dirty`` are those
    of its migrations.
    """

    name: str
    version: int | None
    newest: int
    behind: bool
    migration: int | None
    dirty: bool


class Step(TypedDict):
    """The judged hits at or above a cosine, and the rate that their error is at most."""

    cosine: float
    judged: int
    wrong: int
    at_most: float


class Strings(TypedDict):
    database_id: str
    database_name: str
    username: str
    connection_string: str
    connection_string_pooled: str
    shadow_database_url: str | None
    shadow_database_url_pooled: str | None
    prisma: dict[str, str]
    connection: Connection


class TableRows(TypedDict):
    """The rows of a table then and now; null for a reason that `then_why` or `now_why` names.

    `missing`: there was, or is, no such table. `unlogged`: no backup has its rows.
    `forbidden`: the owner role may not read all of them. `no_time`: they are too many to be
    counted in a minute.
    """

    schema: str
    table: str
    then: int | None
    then_why: Literal["", "missing", "unlogged", "forbidden", "no_time"]
    now: int | None
    now_why: Literal["", "missing", "unlogged", "forbidden", "no_time"]


class Target(TypedDict):
    """The result of a run in one database."""

    database_id: str
    database_name: str
    name: str | None
    environment: str
    status: Literal["pending", "running", "succeeded", "failed", "skipped"]
    version: int | None
    dirty: bool | None
    steps: int | None
    error: dict[str, Any] | None
    started_at: str | None
    finished_at: str | None


class Threshold(TypedDict):
    """The threshold in force, and what was measured there."""

    cosine: float
    similarity: float
    budget: float | None
    hit_rate: Rate
    false_hit_rate: Rate
    vetoes: dict[str, int]
    unjudged: int


class Token(TypedDict):
    """A token for requests to the data API; it is shown only once."""

    token: str
    role: str
    sub: str | None
    expires_at: str


class TotpCode(TypedDict):
    """The authenticator's current code."""

    code: str


class TotpSecret(TypedDict):
    secret: str
    uri: str


class UpdateCustomer(TypedDict):
    """Changes to a customer."""

    plan: str


class UpdateDatabase(TypedDict):
    """Changes to a database; omitted fields stay unchanged. A null limit is the plan's again."""

    max_connections: NotRequired[int | None]
    pool_size: NotRequired[int | None]
    reserve_pool_size: NotRequired[int | None]
    disk_quota_bytes: NotRequired[int | None]
    temp_file_limit_bytes: NotRequired[int | None]
    statement_timeout_ms: NotRequired[int | None]
    lock_timeout_ms: NotRequired[int | None]
    idle_in_transaction_session_timeout_ms: NotRequired[int | None]
    cpu_weight: NotRequired[int | None]
    friendly_name: NotRequired[str | None]
    name: NotRequired[str | None]
    timezone: NotRequired[str | None]
    tags: NotRequired[list[str] | None]
    auto_suspend_seconds: NotRequired[int | None]
    auto_suspend_direct: NotRequired[Literal["wake", "refuse"] | None]
    environment: NotRequired[Literal["production", "staging", "development"] | None]
    owner_email: NotRequired[str | None]
    new_customer: NotRequired[bool]
    plan: NotRequired[str | None]
    pool_mode: NotRequired[Literal["transaction", "session"] | None]
    expires_at: NotRequired[str | None]
    rotate_password_days: NotRequired[int | None]
    cpus: NotRequired[float | None]
    memory_mb: NotRequired[int | None]
    restart: NotRequired[bool]


class UpdatePlan(TypedDict):
    """Sizes of a pricing plan; null is no limit of the plan's, an omitted one stays unchanged."""

    max_instances: NotRequired[int | None]
    instance_cpus: NotRequired[float | None]
    instance_memory_mb: NotRequired[int | None]
    max_sites: NotRequired[int | None]
    site_memory_mb: NotRequired[int | None]
    site_max_clients: NotRequired[int | None]


class UpdateRole(TypedDict):
    """Changes to an additional role."""

    max_connections: int


class UpdateSite(TypedDict):
    """Changes to a site; omitted fields stay unchanged."""

    name: NotRequired[str | None]
    memory_mb: NotRequired[int | None]
    max_clients: NotRequired[int | None]
    eviction: NotRequired[Literal["volatile-lru", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "noeviction"] | None]
    persistence: NotRequired[Literal["none", "aof"] | None]
    semantic: NotRequired[Literal["off", "exact", "shadow", "on"] | None]
    networks: NotRequired[list[str] | None]


class UpdateSiteProxy(TypedDict):
    """What to change. null: the default."""

    openai_url: NotRequired[str | None]
    openai_key: NotRequired[str | None]
    anthropic_url: NotRequired[str | None]
    anthropic_key: NotRequired[str | None]
    requests_per_minute: NotRequired[int | None]
    tokens_per_day: NotRequired[int | None]
    most_temperature: NotRequired[float | None]


class UpdateUser(TypedDict):
    """Changes to a user; omitted fields stay unchanged."""

    name: NotRequired[str | None]
    disabled: NotRequired[bool | None]


class UpdatedDatabase(TypedDict):
    """A changed database; of an instance with another size, with what waits for its restart."""

    id: str
    name: str | None
    friendly_name: str | None
    database_name: str
    username: str
    owner_email: str | None
    environment: str
    tags: list[str]
    kind: str
    driver: str
    version: int
    container_name: str | None
    cpus: float | None
    memory_mb: int | None
    cluster: str
    plan: str
    max_connections: int
    pool_mode: Literal["transaction", "session"]
    timezone: str
    limits: Limits
    disk: Disk
    shadow: bool
    status: Literal["active", "branching", "deleting", "creating", "stopped", "suspended"]
    auto_suspend_seconds: int | None
    auto_suspend_direct: Literal["wake", "refuse"]
    parent_id: str | None
    branched_at: str | None
    expires_at: str | None
    missing_since: str | None
    status_detail: str | None
    password_changed_at: str
    rotate_password_days: int | None
    password_rotates_at: str | None
    last_active_at: str | None
    watched_since: str | None
    paused: Paused | None
    log: Log
    blueprint: HasBlueprint | None
    created_at: str
    updated_at: str
    pending_restart: NotRequired[list[str] | None]
    operation_id: NotRequired[str | None]


class User(TypedDict):
    id: str
    email: str
    name: str | None
    role: Literal["administrator", "customer", "viewer"]
    customer_email: str | None
    customer_databases: int | None
    mfa: bool
    disabled_at: str | None
    locked_until: str | None
    last_login_at: str | None
    created_at: str


class Vacuum(TypedDict):
    """The tables to vacuum. Default: all that the database's owner role owns."""

    tables: NotRequired[list[str]]
    lock_timeout_seconds: NotRequired[float]
    statement_timeout_seconds: NotRequired[float | None]
    analyze: NotRequired[bool]


class VacuumFull(TypedDict):
    """The tables to rewrite. Default: those that would give back a tenth of their size or more."""

    tables: NotRequired[list[str]]
    lock_timeout_seconds: NotRequired[float]
    statement_timeout_seconds: NotRequired[float | None]


class VacuumingTable(TypedDict):
    """A table with its indexes. ``returned_bytes`` is an estimate, null if there is none."""

    table: str
    size_bytes: int
    returned_bytes: int | None


class Waiting(TypedDict):
    """A session in the blocking tree: followed by those that wait for it, one ``depth`` deeper.

    ``blocks`` is how many sessions wait for it, directly or not. ``lock`` is null if it waits
    for none.
    """

    pid: int
    database_name: str
    role: str
    application: str
    port: Literal["direct", "pooled"]
    client_address: str | None
    state: str | None
    query: str
    query_id: str | None
    started_at: str
    transaction_started_at: str | None
    query_started_at: str | None
    age_seconds: float
    transaction_seconds: float | None
    state_seconds: float | None
    wait_event_type: str | None
    wait_event: str | None
    blocked_by: list[int]
    blocked_by_others: bool
    depth: int
    blocks: int
    lock: Lock | None


class Whitelist(TypedDict):
    """A whole allowlist; an empty one allows connections from everywhere."""

    entries: list[WhitelistEntryInput]
    version: NotRequired[str | None]


class WhitelistChange(TypedDict):
    """An entry that would be added, changed or removed, as it would be, or was if removed."""

    action: Literal["add", "change", "remove"]
    ip_address: str
    description: str | None
    expires_at: str | None


class WhitelistEntryInput(TypedDict):
    """An address or a CIDR range to allow; host bits of a range are cut off."""

    ip_address: str
    description: NotRequired[str | None]
    expires_at: NotRequired[str | None]


class WhitelistEntryOutput(TypedDict):
    id: str
    ip_address: str
    description: str | None
    expires_at: str | None
    created_at: str


class WhitelistListing(TypedDict):
    """The allowlist; ``caller_address`` is the address of this request as the server sees it."""

    success: NotRequired[Literal[True]]
    count: int
    next_cursor: NotRequired[str | None]
    data: list[WhitelistEntryOutput]
    caller_address: str | None


class WhitelistPreview(TypedDict):
    """What replacing the allowlist would do; ``version`` is that of the list as it is."""

    changes: list[WhitelistChange]
    closes: bool
    opens: bool
    ending_sessions: list[EndingSessions]
    version: str


class WholeBlueprint(TypedDict):
    """A blueprint in full; ``isolation`` holds the arguments for ``tenantry_rls check``.

    ``data_api`` is null if new databases have none.
    """

    name: str
    title: str
    description: str
    version: int
    extensions: list[str]
    seeds: list[str]
    readme: str
    versions: list[BlueprintsVersion]
    roles: list[BlueprintRole]
    data_api: BlueprintDataApi | None
    isolation: dict[str, Any]
    migrations: list[BlueprintMigration]
