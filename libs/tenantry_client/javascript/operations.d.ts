/** The operations of the API, and their bodies. Generated from the OpenAPI document by generator/generate.py: do not edit. */

export interface PostOptions {
  /** By default a new one for each call. */
  idempotencyKey?: string;
}

/** A new shared cluster, on a port of TENANTRY_INSTANCE_PORTS. */
export interface AddCluster {
  kind?: "shared";
  /** By default shared-2, shared-3 and so on. */
  name?: string | null;
}

/** An extension to install, in an existing schema: ``public``, if none is named. */
export interface AddExtension {
  name: string;
  schema?: string | null;
  /** Whether to restart the instance now if its server has to load the library, which ends all its sessions. */
  restart?: boolean;
}

/** An added entry. ``ended_sessions`` counts sessions from addresses that are refused now. */
export interface AddedEntry {
  id: string;
  ip_address: string;
  description: string | null;
  expires_at: string | null;
  created_at: string;
  /** Whether it is the first: all others are refused from now on. */
  closes: boolean;
  ended_sessions: number;
}

/** A condition that needs attention, or did. ``database_id`` is null for the platform's. */
export interface Alert {
  id: string;
  rule: string;
  subject: string;
  severity: "warning" | "critical";
  state: "pending" | "firing" | "resolved";
  detail: string;
  database_id: string | null;
  /** When the condition was first seen. */
  since: string;
  fired_at: string | null;
  resolved_at: string | null;
  /** Who resolved it by hand. */
  resolved_by: string | null;
  acknowledged_at: string | null;
  acknowledged_by: string | null;
  muted_until: string | null;
}

/** A database's own thresholds; null means the platform's. */
export interface AlertSettings {
  disk_percent: number | null;
  connections_percent: number | null;
  transaction_minutes: number | null;
  deadlocks: number | null;
  rollback_percent: number | null;
  slower_percent: number | null;
}

/** What a site's cache did: for each step its sums, rates and percentiles. */
export interface Analytics {
  site_id: string;
  from: string;
  to: string;
  step_seconds: number;
  series: Array<Series>;
}

/** The tables to analyze. Default: all that the database's owner role owns. */
export interface Analyze {
  tables?: Array<string>;
  /** How long to wait for each table. */
  lock_timeout_seconds?: number;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
}

export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  /** Active if the key and all of its grantors are. */
  status: "active" | "revoked" | "expired" | "suspended";
  /** What was granted. */
  scopes: Array<string>;
  /** What it may do now. */
  effective_scopes: Array<string>;
  customer_email: string | null;
  created_by: Creator;
  /** The key that created it, if no user did. */
  parent: Parent | null;
  /** When it, or one of its grantors, expires. */
  expires_at: string | null;
  revoked_at: string | null;
  last_used_at: string | null;
  created_at: string;
}

/** The operation, with the additional roles that it creates; passwords are shown only once. */
export interface AppliedBlueprint {
  id: string;
  kind: string;
  resource_kind: string;
  resource_id: string;
  /** The database's, cluster's or site's, when the operation was asked for. */
  resource_name: string | null;
  database: OperationDatabase | null;
  status: string;
  step: string | null;
  progress: number;
  done_bytes: number | null;
  total_bytes: number | null;
  bytes_per_second: number | null;
  seconds_left: number | null;
  cancel_requested: boolean;
  result: Record<string, unknown> | null;
  error: Record<string, unknown> | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  roles: Array<OpenedRole>;
}

/** An applied migration file, with its hash when it was applied. */
export interface AppliedMigration {
  version: number;
  file: string;
  sha256: string;
  applied_at: string;
}

/**
 * The blueprint to apply. Default: the newest version of the one that the database has.
 *
 * ``manifest`` (the text of a ``blueprint.toml``) and ``files`` define a custom blueprint, whose
 * name is ``blueprint``.
 */
export interface ApplyBlueprint {
  blueprint?: string | null;
  /** Default: the newest. */
  version?: number | null;
  seeds?: string | null;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
  manifest?: string | null;
  files?: Array<BlueprintFile>;
}

export interface AuditEntry {
  id: number;
  at: string;
  actor: string;
  actor_kind: string;
  actor_id: string | null;
  action: string;
  resource_kind: string;
  resource_id: string | null;
  resource_name: string | null;
  /** What its owner called a database then. */
  resource_title: string | null;
  address: string | null;
  /** What was only started is accepted; a row of its own shows how it ended. */
  result: "ok" | "accepted" | "refused" | "failed";
  request_id: string | null;
  details: Record<string, unknown>;
}

/** The users of the application. */
export interface Auth {
  site_url: string | null;
  redirect_urls: Array<string>;
  signup: boolean;
}

/** Who may become a user of the application, and where links in e-mails lead. */
export interface AuthBody {
  /** The page of the application to which links in e-mails lead. E-mails are sent if it is given and the platform has a mail server. */
  site_url?: string | null;
  /** Further pages, beside those of site_url's origin. */
  redirect_urls?: Array<string>;
  /** Whether anybody may sign up. */
  signup?: boolean;
}

/** A new backup of a whole cluster. */
export interface BackUpCluster {
  /** All of it, or what has changed since the last full one, or since the last. */
  type?: "full" | "diff" | "incr";
}

/**
 * A dump made by pg_dump. Size, hash and version are null while it is being made.
 *
 * ``damage`` says what is wrong with the file of a damaged one.
 */
export interface Backup {
  id: string;
  database_id: string;
  file_name: string;
  format: "custom" | "plain";
  part: "all" | "schema" | "data";
  origin: "manual" | "scheduled";
  description: string | null;
  status: "making" | "ready" | "damaged";
  damage: string | null;
  size_bytes: number | null;
  sha256: string | null;
  postgres_version: string | null;
  created_at: string;
  finished_at: string | null;
  verified_at: string | null;
}

/** When a database is backed up automatically, and which backups are kept. */
export interface BackupSchedule {
  /** Weekly is on Sundays. */
  every: "off" | "day" | "week";
  /** In UTC. */
  hour?: number;
  format?: "custom" | "plain";
  keep_count?: number;
  keep_days?: number;
  /** Manual backups older than this go, too; null: they stay. */
  keep_manual_days?: number | null;
}

/**
 * What it did in an earlier hour, and the change since: 0.5 is half as much again.
 *
 * ``calls_change`` is that of ``calls_per_second``. Both are null if there is no ``now``.
 */
export interface Before {
  hour: string;
  calls: number;
  calls_per_second: number;
  mean_ms: number;
  /** Whether the server evicted entries in that hour. */
  incomplete: boolean;
  mean_change: number | null;
  calls_change: number | null;
}

export interface BigKey {
  key: string;
  type: string;
  bytes: number;
}

/** A schema for databases; ``version`` is the newest. */
export interface Blueprint {
  name: string;
  title: string;
  description: string;
  version: number;
  extensions: Array<string>;
  seeds: Array<string>;
}

/** The data API of databases that are created with the blueprint, from version ``since`` on. */
export interface BlueprintDataApi {
  schemas: Array<string>;
  since: number;
  /** Whether it has application users. */
  auth: boolean;
}

/** A file of a custom blueprint's folder, in addition to its manifest. */
export interface BlueprintFile {
  /** Its path in the folder. */
  name: string;
  sql: string;
}

export interface BlueprintMigration {
  version: number;
  title: string;
}

/** An additional role that the blueprint creates. */
export interface BlueprintRole {
  name: string;
  access: "read_only" | "read_write";
}

/** ``drifted`` is whether anything of the blueprint is missing, changed or added to. */
export interface BlueprintsComparison {
  name: string;
  version: number | null;
  newest: number;
  behind: boolean;
  migration: number | null;
  dirty: boolean;
  drifted: boolean;
  differences: Array<BlueprintsDifference>;
}

/**
 * An object that differs from the blueprint, in PostgreSQL's own notation.
 *
 * ``drift`` is false for an object that was created in addition to the blueprint.
 */
export interface BlueprintsDifference {
  kind: string;
  name: string;
  status: "missing" | "extra" | "changed";
  expected: string | null;
  found: string | null;
  drift: boolean;
}

/** A version of a blueprint: all migrations up to and including ``migration``. */
export interface BlueprintsVersion {
  version: number;
  migration: number;
  summary: string;
}

/** A new branch with its password, valid once the operation that makes it has succeeded. */
export interface Branch {
  id: string;
  name: string | null;
  friendly_name: string | null;
  database_name: string;
  username: string;
  owner_email: string | null;
  environment: string;
  /** Words by which lists are filtered, in order. */
  tags: Array<string>;
  kind: string;
  /** What runs its cluster. */
  driver: string;
  /** Its cluster's major version. */
  version: number;
  /** The name of its instance; null on a shared cluster. */
  container_name: string | null;
  /** How many processors its instance may use; null: all. */
  cpus: number | null;
  /** The memory of its instance, in MiB. */
  memory_mb: number | null;
  /** The cluster that it is on; direct connections go to that cluster's own port. */
  cluster: string;
  plan: string;
  max_connections: number;
  /** How long a pooled client keeps a server connection. */
  pool_mode: "transaction" | "session";
  /** The time zone that its sessions begin with. */
  timezone: string;
  limits: Limits;
  disk: Disk;
  shadow: boolean;
  /** An instance's database is creating until it can be used, and stopped or suspended with it. */
  status: "active" | "branching" | "deleting" | "creating" | "stopped" | "suspended";
  /** After how many seconds without a session its instance is suspended; null: never. */
  auto_suspend_seconds: number | null;
  /** What a direct connection to its suspended instance does. */
  auto_suspend_direct: "wake" | "refuse";
  /** Of a branch: what it was made from. */
  parent_id: string | null;
  /** When a branch was as its parent. */
  branched_at: string | null;
  /** When a branch is deleted. */
  expires_at: string | null;
  /** Since when its server does not have it; it is never created again by itself. */
  missing_since: string | null;
  /** Why it is not as it should be; null once that is put right. It is tried again every minute. */
  status_detail: string | null;
  /** When the platform last set the password of its owner role. */
  password_changed_at: string;
  /** After how many days its logins' passwords are replaced; null: never. */
  rotate_password_days: number | null;
  password_rotates_at: string | null;
  /** When a session of its tenant's was last seen, to five minutes; null if none was since watched_since. */
  last_active_at: string | null;
  /** Since when that is looked for; null if it never was. */
  watched_since: string | null;
  /** It wrote too much of what no quota counts. */
  paused: Paused | null;
  log: Log;
  blueprint: HasBlueprint | null;
  created_at: string;
  updated_at: string;
  password: string;
  connection_string: string;
  connection_string_pooled: string;
  shadow_database_url: string | null;
  shadow_database_url_pooled: string | null;
  prisma: Record<string, string>;
  connection: Connection;
  /** The import into it, or its blueprint, if it was made with import_from or blueprint; or the creation of its instance. */
  operation_id?: string | null;
  operation: Operation;
}

/** Which rows of a comparison to bring back. */
export interface BringBack {
  /** `deleted`, `changed`, or both; `added` rows are never deleted. */
  kinds?: Array<"deleted" | "changed" | "added">;
  /** The places of the rows in the comparison; all of these kinds if left out. */
  places?: Array<number> | null;
}

/**
 * What became of the rows. `already` were as they are; `altered` by a trigger, of the others.
 *
 * `rows` are the first 100 of those that were skipped.
 */
export interface BroughtBack {
  inserted: number;
  updated: number;
  altered: number;
  already: number;
  skipped: number;
  rows: Array<Left>;
}

/** What a million tokens of a model cost from a day in UTC on. */
export interface CachePriceInput {
  /** As requests name it. */
  model: string;
  valid_from: string;
  /** Those of requests. */
  input: number;
  /** Those of answers. */
  output: number;
}

/** What a million tokens of a model cost from a day in UTC on. */
export interface CachePriceOutput {
  model: string;
  valid_from: string;
  input: number;
  output: number;
}

/** All prices, in one currency. They replace the present ones. */
export interface CachePrices {
  /** By ISO 4217. Amounts are not converted. */
  currency: string;
  prices: Array<CachePriceInput>;
}

/** What the judged hits allow. Without a certificate the cosine in force is 0.95. */
export interface Certificate {
  certified: boolean;
  budget: number;
  /** The loosest that is certified; null: none. */
  cosine: number | null;
  steps: Array<Step>;
}

/** The acceptable share of wrong answers among those that are given. */
export interface CertifyThreshold {
  budget: number;
}

/** A new password: at least 16 characters or four words, and not easy to guess. */
export interface ChangePassword {
  current_password: string;
  new_password: string;
}

/** Changes of rows of one table, made as one transaction. */
export interface ChangeRows {
  schema?: string;
  table: string;
  changes: Array<RowChange>;
  /** Return the statements only, and change nothing. */
  dry_run?: boolean;
}

/** What was done: the statements, and how many rows they changed; with dry_run none. */
export interface Changed {
  sql: string;
  rows: number;
}

/** An extension that was added or removed. */
export interface ChangedExtension {
  name: string;
  description: string | null;
  default_version: string;
  installable: boolean;
  installed_version: string | null;
  schema: string | null;
  /** Whether the server of an instance has to load its library when it is started. */
  preloads: boolean;
  /** Whether it loads it, or does not load it any more, once it is restarted. */
  pending_restart: boolean;
  /** The restart of its instance, if one has begun. */
  operation_id: string | null;
}

/** Where alerts and events are sent. Of a URL only the host is shown. */
export interface Channel {
  id: string;
  name: string;
  kind: "email" | "webhook" | "slack" | "discord";
  target: string;
  events: Array<"alert.platform" | "alert.database" | "database.created" | "database.deleted" | "database.restored" | "database.log_paused" | "login.failed">;
  /** How often sending has failed since it last succeeded. */
  failures: number;
  retry_at: string | null;
  last_error: string | null;
  last_sent_at: string | null;
  created_at: string;
}

export interface Cluster {
  id: string;
  name: string;
  kind: string;
  driver: string;
  version: number;
  port: number;
  /** Of an instance. */
  container_name: string | null;
  wanted: "running" | "stopped" | "suspended";
  /** Whether databases are placed on it; false while it is added. */
  ready: boolean;
  databases: number;
  max_databases: number;
  /** Whether there is a physical backup to restore from; null where they are off. */
  backups: "ok" | "none" | "unknown" | null;
  last_backup_at: string | null;
  created_at: string;
}

export interface ClusterBackups {
  repositories: Array<HeldRepository>;
  /** Whether one is being made now. */
  in_progress: boolean;
  /** The oldest first. */
  backups: Array<PhysicalBackup>;
}

/** A table to compare with what it was. */
export interface CompareTable {
  table: string;
}

/**
 * The comparison of a drill; null for what it did not reach.
 *
 * All ``tables`` of the copy were read. Of those, ``equal_to_live`` match the live ones,
 * ``changing`` were written to meanwhile, and ``too_large`` ones were not read in the live one.
 * ``changed`` are objects that a restore changes, ``lost`` those that it loses.
 */
export interface Compared {
  tables?: number | null;
  rows?: number | null;
  equal_to_live?: number | null;
  changing?: number | null;
  too_large?: number | null;
  amcheck?: string | null;
  changed?: Array<Remark> | null;
  lost?: Array<Remark> | null;
}

/** How the cluster's own port is reached. */
export interface Connection {
  host: string;
  /** Why the host of an instance is not its own name; null if it is. */
  host_detail?: string | null;
  port: number;
  username: string;
  password: string;
  database: string;
  sslmode: string;
}

/** How many rows there are of each kind. */
export interface Counts {
  deleted: number;
  changed: number;
  added: number;
  same: number;
}

/** A new logical backup of one database. */
export interface CreateBackup {
  /** For pg_restore, with owners and rights; or SQL for psql, without them. */
  format?: "custom" | "plain";
  part?: "all" | "schema" | "data";
  description?: string | null;
}

/** A new branch, with its parent's data. */
export interface CreateBranch {
  name: string;
  friendly_name?: string | null;
  environment?: "production" | "staging" | "development";
  /** One of GET /api/plans; left out, it has its parent's limits. */
  plan?: string | null;
  /** Whether to make a shadow database beside it. */
  shadow?: boolean;
  /** Whether to do the parent's masking in it; left out, if there is one. */
  masked?: boolean | null;
  /** The moment at which to have the parent's data; left out, now. */
  at?: string | null;
  expires_at?: string | null;
  expires_in?: number | null;
}

/** A channel: an e-mail address, or the URL of a webhook, of Slack or of Discord. */
export interface CreateChannel {
  name: string;
  kind: "email" | "webhook" | "slack" | "discord";
  /** An address or a URL. Of a URL only the host is shown later. */
  target: string;
  /** What is sent; default: alerts. */
  events?: Array<"alert.platform" | "alert.database" | "database.created" | "database.deleted" | "database.restored" | "database.log_paused" | "login.failed"> | null;
}

/** A new database. One of ``friendly_name`` and ``name`` is required. */
export interface CreateDatabase {
  max_connections?: number | null;
  pool_size?: number | null;
  reserve_pool_size?: number | null;
  disk_quota_bytes?: number | null;
  temp_file_limit_bytes?: number | null;
  statement_timeout_ms?: number | null;
  lock_timeout_ms?: number | null;
  idle_in_transaction_session_timeout_ms?: number | null;
  cpu_weight?: number | null;
  friendly_name?: string | null;
  name?: string | null;
  /** The time zone that its sessions begin with; at first UTC. Each session may change it, and a login that has one of its own keeps that. */
  timezone?: string | null;
  /** Words by which lists of databases and runs over many are filtered; a change replaces them all. */
  tags?: Array<string> | null;
  /** After how many seconds without a session an instance is suspended, until the next connection through the pooler: 60 at least; null or 0 is never. */
  auto_suspend_seconds?: number | null;
  /** What a direct connection to a suspended instance does: wake it, for which all direct connections pass through the platform, or refuse. From the instance's next start. */
  auto_suspend_direct?: "wake" | "refuse" | null;
  owner_email?: string | null;
  /** Whether the address may be a new customer's. False refuses one that no customer has, with unknown_customer. */
  new_customer?: boolean;
  environment?: "production" | "staging" | "development";
  /** Where to create it: on a shared cluster, or on one of its own, an instance. */
  kind?: "shared" | "dedicated";
  /** An instance's major version: see GET /api/versions. */
  version?: number | null;
  /** How many processors an instance may use; null: what its customer's plan grants, or else all. */
  cpus?: number | null;
  /** The memory of an instance, in MiB; null: what its customer's plan grants. */
  memory_mb?: number | null;
  /** What runs an instance. */
  driver?: "process" | "docker" | null;
  /** The shared cluster to create it on; by administrators. By default one with few of the owner's databases, and most free connections. */
  cluster?: string | null;
  /** One of GET /api/plans; null: its owner's, or else standard. */
  plan?: string | null;
  /** Whether to make a shadow database, for Prisma's migrations. */
  shadow?: boolean;
  import_from?: string | null;
  blueprint?: string | null;
  seeds?: string | null;
}

/** The index to create, while its table is used. */
export interface CreateIndex {
  table: string;
  /** Its columns, in order. */
  columns: Array<string>;
  /** Without its schema. Default: as PostgreSQL names it. */
  name?: string | null;
  /** The access method. */
  method?: "btree" | "hash" | "gin" | "gist" | "spgist" | "brin";
  /** Whether no two rows may have the same values; for `btree`. */
  unique?: boolean;
  /** How long to wait for transactions that are open. */
  lock_timeout_seconds?: number;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
}

/** A new API key. It cannot have more scopes than the key that creates it. */
export interface CreateKey {
  name: string;
  scopes: Array<"admin" | "databases:read" | "databases:write" | "backups:read" | "backups:write" | "keys:read" | "keys:write" | "data:read" | "data:write" | "audit:read" | "metrics:read" | "platform:read">;
  /** Bind the key to this customer: it sees nothing else. */
  customer_email?: string | null;
  /** Whether the address may be a new customer's. False refuses one that no customer has, with unknown_customer. */
  new_customer?: boolean;
  expires_at?: string | null;
}

/** A moment of a database, by default now. */
export interface CreateMark {
  label: string;
  /** Now, if left out; not in the future. */
  at?: string | null;
}

/** A new additional role of a database. */
export interface CreateRole {
  name: string;
  access?: "read_only" | "read_write";
  /** The most connections at once; within those of the database. Default: 10. */
  max_connections?: number | null;
}

/** A new site. */
export interface CreateSite {
  name: string;
  /** Whether it has a Redis of its own. The shared one is for tiny sites: they have their own users and keys, and share its memory, eviction and processor. */
  isolation?: "dedicated" | "shared";
  /** By default what the customer's plan has, at most 4 if shared; without a customer 32. */
  memory_mb?: number | null;
  /** By default what the customer's plan has, at most 20 if shared; without a customer 100. */
  max_clients?: number | null;
  /** What Redis deletes once the memory is full: its maxmemory-policy. */
  eviction?: "volatile-lru" | "volatile-ttl" | "allkeys-lru" | "allkeys-lfu" | "noeviction";
  /** Whether its keys survive a restart: aof writes each change, at most a second late. */
  persistence?: "none" | "aof";
  /** How the cache answers; on and shadow compare prompts by meaning. */
  semantic?: "off" | "exact" | "shadow" | "on";
  /** The addresses and CIDR ranges that may reach its Redis, beside the platform's machine; none: all. They replace its allowlist: reached_from says whether it is obeyed. */
  networks?: Array<string>;
}

/** A token for one user of an application. */
export interface CreateToken {
  /** anon, authenticated, service_role, or an additional role's name. */
  role?: string;
  /** Who it is for (the claim sub). */
  sub?: string | null;
  expires_in_seconds?: number;
}

/**
 * A new user. All but administrators belong to ``customer_email``, by default their address.
 *
 * A viewer sees what a customer's user sees, but no rows and no backups, and changes nothing.
 */
export interface CreateUser {
  email: string;
  name?: string | null;
  role?: "administrator" | "customer" | "viewer";
  customer_email?: string | null;
  /** Whether the address may be a new customer's. False refuses one that no customer has, with unknown_customer. */
  new_customer?: boolean;
  /** Left out, a random one is made, and shown this once. */
  password?: string | null;
}

/**
 * A new database, with the additional roles and the data API of its blueprint.
 *
 * Passwords and keys are shown only once. ``blueprint`` has no version while it is still being
 * applied; the operation reports it.
 */
export interface CreatedDatabase {
  id: string;
  name: string | null;
  friendly_name: string | null;
  database_name: string;
  username: string;
  owner_email: string | null;
  environment: string;
  /** Words by which lists are filtered, in order. */
  tags: Array<string>;
  kind: string;
  /** What runs its cluster. */
  driver: string;
  /** Its cluster's major version. */
  version: number;
  /** The name of its instance; null on a shared cluster. */
  container_name: string | null;
  /** How many processors its instance may use; null: all. */
  cpus: number | null;
  /** The memory of its instance, in MiB. */
  memory_mb: number | null;
  /** The cluster that it is on; direct connections go to that cluster's own port. */
  cluster: string;
  plan: string;
  max_connections: number;
  /** How long a pooled client keeps a server connection. */
  pool_mode: "transaction" | "session";
  /** The time zone that its sessions begin with. */
  timezone: string;
  limits: Limits;
  disk: Disk;
  shadow: boolean;
  /** An instance's database is creating until it can be used, and stopped or suspended with it. */
  status: "active" | "branching" | "deleting" | "creating" | "stopped" | "suspended";
  /** After how many seconds without a session its instance is suspended; null: never. */
  auto_suspend_seconds: number | null;
  /** What a direct connection to its suspended instance does. */
  auto_suspend_direct: "wake" | "refuse";
  /** Of a branch: what it was made from. */
  parent_id: string | null;
  /** When a branch was as its parent. */
  branched_at: string | null;
  /** When a branch is deleted. */
  expires_at: string | null;
  /** Since when its server does not have it; it is never created again by itself. */
  missing_since: string | null;
  /** Why it is not as it should be; null once that is put right. It is tried again every minute. */
  status_detail: string | null;
  /** When the platform last set the password of its owner role. */
  password_changed_at: string;
  /** After how many days its logins' passwords are replaced; null: never. */
  rotate_password_days: number | null;
  password_rotates_at: string | null;
  /** When a session of its tenant's was last seen, to five minutes; null if none was since watched_since. */
  last_active_at: string | null;
  /** Since when that is looked for; null if it never was. */
  watched_since: string | null;
  /** It wrote too much of what no quota counts. */
  paused: Paused | null;
  log: Log;
  blueprint: HasBlueprint | null;
  created_at: string;
  updated_at: string;
  password: string;
  connection_string: string;
  connection_string_pooled: string;
  shadow_database_url: string | null;
  shadow_database_url_pooled: string | null;
  prisma: Record<string, string>;
  connection: Connection;
  /** The import into it, or its blueprint, if it was made with import_from or blueprint; or the creation of its instance. */
  operation_id?: string | null;
  roles?: Array<OpenedRole>;
  data_api?: OpenedDataApi | null;
  /** Of an instance: whether the machine enforces its cpus and memory_mb. */
  size_limits?: "enforced" | "none" | null;
}

/** The creator of a key: the origin of the chain of keys that created it. */
export interface Creator {
  kind: "user" | "platform";
  /** Of the user, who may be deleted. */
  id: string | null;
  /** The user's e-mail address; null once they are deleted. */
  name: string | null;
}

/** A customer, and what it has. It can be removed once all numbers are 0. */
export interface Customer {
  id: string;
  email: string;
  /** Its pricing plan, for the sizes of what it creates. */
  plan: string;
  /** With branches and retained ones. */
  databases: number;
  users: number;
  /** Those that are neither revoked nor expired. */
  api_keys: number;
  /** Logical backups. */
  backups: number;
  /** Sites of the AI cache. */
  sites: number;
  /** Unfinished operations. */
  operations: number;
  created_at: string;
}

/**
 * The REST API of a database.
 *
 * Tokens of the secret before the present one are valid until ``previous_keys_until``.
 */
export interface DataApi {
  database_id: string;
  database_name: string;
  rest_url: string;
  schemas: Array<string>;
  anonymous: boolean;
  open: boolean;
  max_rows: number | null;
  statement_timeout_ms: number | null;
  jwks_url: string | null;
  allowed_origins: Array<string>;
  /** Where users sign in; null without auth. */
  auth_url: string | null;
  auth: Auth | null;
  keys_issued_at: string;
  previous_keys_until: string | null;
  created_at: string;
  updated_at: string;
}

export interface Database {
  id: string;
  name: string | null;
  friendly_name: string | null;
  database_name: string;
  username: string;
  owner_email: string | null;
  environment: string;
  /** Words by which lists are filtered, in order. */
  tags: Array<string>;
  kind: string;
  /** What runs its cluster. */
  driver: string;
  /** Its cluster's major version. */
  version: number;
  /** The name of its instance; null on a shared cluster. */
  container_name: string | null;
  /** How many processors its instance may use; null: all. */
  cpus: number | null;
  /** The memory of its instance, in MiB. */
  memory_mb: number | null;
  /** The cluster that it is on; direct connections go to that cluster's own port. */
  cluster: string;
  plan: string;
  max_connections: number;
  /** How long a pooled client keeps a server connection. */
  pool_mode: "transaction" | "session";
  /** The time zone that its sessions begin with. */
  timezone: string;
  limits: Limits;
  disk: Disk;
  shadow: boolean;
  /** An instance's database is creating until it can be used, and stopped or suspended with it. */
  status: "active" | "branching" | "deleting" | "creating" | "stopped" | "suspended";
  /** After how many seconds without a session its instance is suspended; null: never. */
  auto_suspend_seconds: number | null;
  /** What a direct connection to its suspended instance does. */
  auto_suspend_direct: "wake" | "refuse";
  /** Of a branch: what it was made from. */
  parent_id: string | null;
  /** When a branch was as its parent. */
  branched_at: string | null;
  /** When a branch is deleted. */
  expires_at: string | null;
  /** Since when its server does not have it; it is never created again by itself. */
  missing_since: string | null;
  /** Why it is not as it should be; null once that is put right. It is tried again every minute. */
  status_detail: string | null;
  /** When the platform last set the password of its owner role. */
  password_changed_at: string;
  /** After how many days its logins' passwords are replaced; null: never. */
  rotate_password_days: number | null;
  password_rotates_at: string | null;
  /** When a session of its tenant's was last seen, to five minutes; null if none was since watched_since. */
  last_active_at: string | null;
  /** Since when that is looked for; null if it never was. */
  watched_since: string | null;
  /** It wrote too much of what no quota counts. */
  paused: Paused | null;
  log: Log;
  blueprint: HasBlueprint | null;
  created_at: string;
  updated_at: string;
}

/**
 * What a database uses, with its shadow; on an instance, size and connections are all of its.
 *
 * ``cpu``, ``memory`` and ``uptime``, and their numbers, are of instances, and else null.
 */
export interface DatabaseStats {
  database_id: string;
  database_name: string;
  status: "creating" | "running" | "stopped" | "suspended" | "starting" | "error";
  /** Of an instance that does not start: the last lines of its log. */
  detail: string | null;
  size: string;
  size_bytes: number;
  size_pretty: string;
  connections: number;
  active_connections: number;
  max_connections: number;
  cpu?: string | null;
  /** Of one processor. */
  cpu_percent?: number | null;
  memory?: string | null;
  memory_bytes?: number | null;
  memory_limit_bytes?: number | null;
  uptime?: string | null;
  uptime_seconds?: number | null;
  /** Databases that its tenant has created on an instance: reachable under its allowlist, and in its physical backups. Restores of this database, branches and logical backups leave them out. */
  unmanaged: Array<string>;
  cache_hit_ratio: number | null;
  transactions_committed: number;
  transactions_rolled_back: number;
  stats_since: string;
}

/** The schedule of databases in an environment that have no schedule of their own. */
export interface Default {
  every: "off" | "day" | "week";
  hour: number;
  format: "custom" | "plain";
  keep_count: number;
  keep_days: number;
  keep_manual_days: number | null;
  environment: "production" | "staging" | "development";
}

export interface Deleted {
  id: string;
  status: "deleted" | "deleting";
  operation_id: string;
}

export interface DeletedBackup {
  id: string;
  status: "deleted";
}

export interface DeletedRole {
  id: string;
  status: "deleted" | "deleting";
}

export interface DeletedSiteBackup {
  id: string;
  status: "deleted";
}

/** A page of differences; `next` is the place after which to go on, null on the last one. */
export interface Differences {
  rows: Array<PastDifference>;
  next: number | null;
}

export interface DisabledDataApi {
  database_id: string;
  status: "disabled" | "disabling";
}

/**
 * Disk usage of a database and its shadow. ``used_bytes`` is null until it has been measured.
 *
 * ``detail`` says what the state means, how long it lasts, and what to do; null if it is ok.
 */
export interface Disk {
  used_bytes: number | null;
  quota_bytes: number;
  state: "ok" | "warning" | "read_only" | "stopped";
  detail?: string | null;
}

/** The answer to a request that succeeds without further data. */
export interface Done {
  done?: true;
}

/** Estimated percentiles in milliseconds; null without any. */
export interface Durations {
  p50_ms: number | null;
  p95_ms: number | null;
}

/** Open sessions of a login from one address, which would end. */
export interface EndingSessions {
  username: string;
  address: string;
  /** pooler, or the database's cluster; redis for a site. */
  endpoint: string;
  sessions: number;
}

/** What has changed a database: `mark`, or an action of the audit such as `database.migrate`. */
export interface Event {
  at: string;
  kind: string;
  /** That of a mark. */
  label: string | null;
}

/** A statement to explain, and whether to execute it for that. */
export interface Explain {
  sql: string;
  /** Whether to execute it, to measure each node. */
  analyze?: boolean;
  /** Whether it is an error to change something. If not, it is rolled back. */
  read_only?: boolean;
  timeout_ms?: number;
}

/** ``plan`` is what EXPLAIN (FORMAT JSON) returned; ``nodes`` are its nodes in order. */
export interface Explained {
  plan: Array<Record<string, unknown>>;
  nodes: Array<Node>;
  total_cost: number;
  planning_ms: number | null;
  execution_ms: number | null;
}

/** An extension of the server. It is not ``installable`` if it reaches beyond one database. */
export interface Extension {
  name: string;
  description: string | null;
  default_version: string;
  installable: boolean;
  installed_version: string | null;
  schema: string | null;
  /** Whether the server of an instance has to load its library when it is started. */
  preloads: boolean;
  /** Whether it loads it, or does not load it any more, once it is restarted. */
  pending_restart: boolean;
}

export interface FieldProblem {
  field: string;
  message: string;
  code: string;
}

/**
 * Something to do about ``object``, and why.
 *
 * ``statement`` is SQL that the owner role can run as it is, or a command of ``tenantry`` where no
 * SQL helps; null if neither can be given. ``index`` is null unless an index is missing that can
 * be created while its table is used. ``muted_at`` is null unless the finding is muted.
 */
export interface Finding {
  code: "unindexed_foreign_key" | "missing_index" | "unused_index" | "duplicate_index" | "invalid_index" | "no_primary_key" | "sequence_exhaustion" | "transaction_id_age" | "long_transaction" | "idle_in_transaction" | "stale_statistics" | "bloat" | "settings" | "policy_per_row" | "row_security_disabled" | "pool_too_small" | "cache_too_small";
  severity: "info" | "warning" | "error";
  object: string;
  detail: string;
  statement: string | null;
  risk: string;
  index: MissingIndex | null;
  muted_at: string | null;
}

export interface GoneSite {
  id: string;
  status: "deleted";
}

/**
 * A database's blueprint.
 *
 * ``version`` is the one that the platform applied last; GET …/blueprint reads it from the
 * database.
 */
export interface HasBlueprint {
  name: string;
  version: number | null;
}

/**
 * A repository, and the moment from which on a cluster can be restored from it.
 *
 * ``state`` is ``none`` if nothing can be restored, and ``unknown`` if the repository cannot be
 * read; ``problem`` says why.
 */
export interface HeldRepository {
  number: number;
  place: string;
  state: "ok" | "none" | "unknown";
  problem: string | null;
  restorable_from: string | null;
}

/** A stored question that was found for another one. Shadow hits were not given. */
export interface Hit {
  id: string;
  prompt: string;
  stored_prompt: string;
  entry_id: string;
  similarity: number;
  cosine: number;
  served: boolean;
}

/** An external database, or a previewed dump, to copy into an empty database. */
export interface ImportDatabase {
  schemas?: Array<string>;
  /** As schema.table, or the name alone of one in public. */
  exclude_tables?: Array<string>;
  from?: string | null;
  /** In place of `from`: a dump that was sent to …/import/preview for this database, less than an hour ago. */
  upload_id?: string | null;
  /** Which login of the database stands for a role of the source in policies and grants, by the role's name there. */
  map_roles?: Record<string, string>;
  /** What policies say of other roles is left out, and reported; or policies that name others are an error before anything is copied. */
  unmapped_roles?: "leave_out" | "refuse";
  /** How many tables at once. */
  jobs?: number;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
  /** To go on without what PostgreSQL does not build again; left out, the operation fails with `import_would_lose`, and nothing is left of it. */
  accept_losses?: boolean;
}

/** An index. ``last_scan_at`` is null before PostgreSQL 16, and if there was no scan. */
export interface Index {
  index: string;
  definition: string;
  unique: boolean;
  primary_key: boolean;
  valid: boolean;
  size_bytes: number;
  scans: number;
  last_scan_at: string | null;
  cache_hit_ratio: number | null;
}

/**
 * A session of the database's owner role or of an additional role.
 *
 * ``client_address`` of a pooled session is that of the client that has the server connection at
 * present, null if none has. ``query`` is the present or last statement, without secrets; its
 * constants are there with the scope ``audit:read`` only. ``blocked_by`` are sessions of this
 * list; ``blocked_by_others`` is whether another one, such as autovacuum, blocks it, too.
 */
export interface InsightsSession {
  pid: number;
  database_name: string;
  role: string;
  application: string;
  port: "direct" | "pooled";
  client_address: string | null;
  state: string | null;
  query: string;
  query_id: string | null;
  started_at: string;
  transaction_started_at: string | null;
  query_started_at: string | null;
  age_seconds: number;
  transaction_seconds: number | null;
  state_seconds: number | null;
  wait_event_type: string | null;
  wait_event: string | null;
  blocked_by: Array<number>;
  blocked_by_others: boolean;
}

/**
 * A table or materialized view; ``size_bytes`` is with its indexes and TOAST.
 *
 * ``rows`` and ``dead_rows`` are the server's estimates. ``bloat_bytes`` estimates what a rewrite
 * would return, null if unknown. ``root`` is the partitioned table that it is a part of. Scans and
 * cache hits are counted since ``counted_since``.
 */
export interface InsightsTable {
  table: string;
  kind: "table" | "materialized_view";
  root: string | null;
  size_bytes: number;
  heap_bytes: number;
  index_bytes: number;
  rows: number | null;
  dead_rows: number;
  bloat_bytes: number | null;
  modified_since_analyze: number;
  last_vacuum_at: string | null;
  last_analyze_at: string | null;
  sequential_scans: number;
  sequential_rows_read: number;
  index_scans: number;
  cache_hit_ratio: number | null;
  counted_since: string;
  indexes: Array<Index>;
}

/**
 * The parameters that can be set for an instance.
 *
 * ``parameters`` are those that its owner has set, ``pending_restart`` those of which another
 * value is in force once it has been restarted.
 */
export interface InstanceSettings {
  parameters: Record<string, string>;
  pending_restart: Array<string>;
  /** Its restart, if one has begun. */
  operation_id: string | null;
  settings: Array<Setting>;
}

/** A major version of PostgreSQL that this machine has, or that apt offers it. */
export interface InstancesVersion {
  major: number;
  /** The release that is installed. */
  minor: string | null;
  /** The package that apt would install, or upgrade to; null if there is none. */
  offered: string | null;
  /** Whether instances can be created with it now. */
  installed: boolean;
  /** When its maintenance ends. */
  end_of_life: string;
}

/** Whether the stored answer is right for what was asked. */
export interface JudgeHit {
  correct: boolean;
}

export interface Judged {
  id: string;
  status: "judged";
}

export interface KindUse {
  kind: string;
  keys: number;
  bytes: number;
}

/** The last backup that the schedule started. A failed one is retried twice. */
export interface LastAttempt {
  begun_at: string;
  tries: number;
  status: "queued" | "running" | "succeeded" | "failed" | "cancelled" | "refused";
  error: string | null;
}

/**
 * What a database had in its newest sample, and did in the time before it.
 *
 * Connections are direct ones and those of the pooler. Rates are 0 if nothing happened since.
 */
export interface Latest {
  database_id: string;
  database_name: string;
  name: string | null;
  friendly_name: string | null;
  environment: string;
  sampled_at: string;
  transactions_per_second: number | null;
  connections_active: number;
  connections_idle: number;
  connections_in_transaction: number;
  clients_waiting: number | null;
  longest_transaction_seconds: number | null;
  cache_hit_ratio: number | null;
  cpu_percent: number | null;
  temporary_bytes_per_second: number | null;
  wal_bytes_per_second: number | null;
  size_bytes: number | null;
}

/**
 * A row that was left as it is.
 *
 * `changed_since`, `deleted_since`, `exists_again`: it is not what was compared any more.
 * `unique_or_trigger`: another row has one of its unique values, or a trigger has refused it.
 * `refused_by_trigger`, `cannot_be_set`: PostgreSQL does not let it be changed. `others_refer`: a
 * foreign key with ON UPDATE CASCADE, SET NULL or SET DEFAULT would change rows that refer to it.
 */
export interface Left {
  schema: string;
  table: string;
  key: Array<string>;
  reason: "changed_since" | "deleted_since" | "exists_again" | "unique_or_trigger" | "refused_by_trigger" | "cannot_be_set" | "others_refer";
}

/** Limits of a database. A timeout of 0 means none; each session may change its timeouts. */
export interface Limits {
  max_connections: number;
  pool_size: number;
  reserve_pool_size: number;
  disk_quota_bytes: number;
  temp_file_limit_bytes: number;
  statement_timeout_ms: number;
  lock_timeout_ms: number;
  idle_in_transaction_session_timeout_ms: number;
  cpu_weight: number;
}

export interface Loaded {
  /** How many were inserted. */
  rows: number;
}

/** The lock that a session waits for; its type and mode are as in pg_locks. */
export interface Lock {
  lock_type: string;
  mode: string;
  relation: string | null;
  seconds: number | null;
}

/** Which statements of a database are logged for its owner. */
export interface Log {
  /** The classes of statements, as log_statement has them. */
  statements: "none" | "ddl" | "mod" | "all";
  /** Statements that run so long are logged with their duration; null: none are. */
  min_duration_ms: number | null;
  /** Whether statements that fail are logged. */
  errors: boolean;
  /** For how many days entries are kept; null: as long as those of the audit. */
  keep_days: number | null;
  /** Nothing is logged until then, since the database logged too much. */
  paused_until: string | null;
}

/**
 * An event of a session, or a ``notice`` of the platform about the log itself.
 *
 * ``application`` is the client's own name for itself. ``client_address`` is null through the
 * pooler.
 */
export interface LogEntry {
  id: string;
  time: string;
  kind: "statement" | "duration" | "error" | "notice";
  database_name: string | null;
  role: string | null;
  application: string | null;
  client_address: string | null;
  session_id: string | null;
  statement: string | null;
  /** Whether only the beginning of the statement is here. */
  truncated: boolean;
  duration_ms: number | null;
  sqlstate: string | null;
  message: string | null;
}

/** The second step of a login: a code of the authenticator, or a recovery code. */
export interface LoginCode {
  challenge: string;
  code: string;
  /** What an earlier login from this device was answered, if there was one. */
  device_token?: string | null;
}

/** Credentials for a login. */
export interface LoginInput {
  email: string;
  password: string;
  /** What an earlier login from this device was answered, if there was one. */
  device_token?: string | null;
}

/** Either a session, or a challenge that a code answers at POST /api/auth/mfa. */
export interface LoginOutput {
  status: "signed_in" | "mfa_required";
  /** Send it as Authorization: Bearer. Shown this once. */
  token: string | null;
  challenge: string | null;
  /** Send it with later logins from this device: it proves nothing, but failures from elsewhere do not keep it waiting then. Good for 90 days. */
  device_token: string | null;
  expires_at: string;
  user: User | null;
}

/** The moment at which to look at a database. */
export interface LookBack {
  /** A moment with its time zone. */
  to: string;
}

/** A named moment of a database. */
export interface Mark {
  id: string;
  label: string;
  at: string;
  created_at: string;
}

/** SQL that masks each branch before clients can connect; null means none. */
export interface Masking {
  sql: string | null;
  updated_at: string | null;
}

/** The caller: a user in a session, or an API key. */
export interface Me {
  kind: "user" | "api_key";
  id: string;
  name: string;
  scopes: Array<string>;
  customer_email: string | null;
  user: User | null;
  recovery_codes_left: number | null;
}

/**
 * What takes a site's memory and time, by a sample of ``sampled`` of its keys.
 *
 * Names of keys are null without the scope data:read.
 */
export interface Memory {
  memory_bytes: number;
  memory_limit_bytes: number;
  /** Since its Redis started; null in the shared Redis, which counts for all sites. */
  evicted_keys: number | null;
  keys: number;
  sampled: number;
  kinds: Array<KindUse>;
  big_keys: Array<BigKey> | null;
  slow_commands: Array<SlowCommand> | null;
}

/** What a database had and did. A figure that is not known at all has no series. */
export interface Metrics {
  database_id: string;
  from: string;
  to: string;
  step_seconds: number;
  series: Array<Series>;
}

/** The action on a database's migrations, one of golang-migrate's commands. */
export interface MigrateDatabase {
  files?: Array<MigrationFile>;
  /** Take files for applied that were edited since then. */
  accept_edited?: boolean;
  /** Take files for applied that came after later ones had been, and never ran. */
  accept_skipped?: boolean;
  /** Where schema_migrations is another tool's table, begin a record beside it, in tenantry_schema_migrations. */
  beside?: boolean;
  lock_timeout_seconds?: number;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
  retries?: number;
  action?: "up" | "down" | "goto" | "force";
  /** How many files up or down; default: all of them. */
  n?: number | null;
  /** For goto and force; -1 forces “before the first”. */
  version?: number | null;
}

/** A selection of databases to migrate to the last file. */
export interface MigrateMany {
  files?: Array<MigrationFile>;
  /** Take files for applied that were edited since then. */
  accept_edited?: boolean;
  /** Take files for applied that came after later ones had been, and never ran. */
  accept_skipped?: boolean;
  /** Where schema_migrations is another tool's table, begin a record beside it, in tenantry_schema_migrations. */
  beside?: boolean;
  lock_timeout_seconds?: number;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
  retries?: number;
  environment?: "production" | "staging" | "development" | null;
  owner_email?: string | null;
  /** Only those that have this one. */
  blueprint?: string | null;
  /** Only those that have no blueprint. */
  without_blueprint?: boolean;
  /** Only those that have all of these. */
  tags?: Array<string>;
  /** Only these, of those that the other fields fit; each has to be one of them. */
  database_ids?: Array<string> | null;
  /** All but these. */
  exclude_ids?: Array<string>;
  /** Return the databases that would be migrated; migrate none. */
  dry_run?: boolean;
  parallel?: number;
  /** So many go first, and all of them must succeed. */
  canary?: number;
  /** After more than so many no other one is started. */
  max_failures?: number;
}

/** A migration file, named as golang-migrate expects. */
export interface MigrationFile {
  name: string;
  sql: string;
}

/**
 * The migrations of a database; ``version`` is null before the first one.
 *
 * Migrations that golang-migrate itself ran are not in ``applied``. A database that is ``dirty``
 * and ``running`` has a run in progress; otherwise a file failed in the middle.
 */
export interface Migrations {
  version: number | null;
  dirty: boolean;
  running: boolean;
  applied: Array<AppliedMigration>;
}

/** What ``POST /api/databases/{id}/indexes`` takes to create an index. */
export interface MissingIndex {
  table: string;
  columns: Array<string>;
}

/** Requests and tokens of one model, or of all. Money is null without a price. */
export interface ModelUsage {
  /** Empty where requests name none. */
  model: string;
  exact_hits: number;
  semantic_hits: number;
  misses: number;
  /** Requests for which the cache was not asked. */
  bypasses: number;
  /** Requests that had the answer to another one at its time. */
  shared: number;
  /** Requests to providers without a usable answer. */
  failures: number;
  /** Those of requests that providers have counted. */
  tokens_in: number;
  /** Those of their answers. */
  tokens_out: number;
  /** Those of requests whose answer was given again. */
  saved_in: number;
  /** Those of these answers. */
  saved_out: number;
  embeddings_found: number;
  embeddings_asked: number;
  hit_rate: Share;
  saved: number | null;
  paid: number | null;
  /** The day of the newest price that was used. */
  priced_from: string | null;
}

/** Where to move a database, and how long its clients may wait. */
export interface MoveDatabase {
  /** To a shared cluster, or to one of its own, a new instance. */
  kind: "shared" | "dedicated";
  /** The shared cluster, by administrators. By default one with few of the owner's databases, and most free connections. */
  cluster?: string | null;
  /** The instance's major version: see GET /api/versions. */
  version?: number | null;
  /** How many processors the instance may use; null: what its customer's plan grants, or else all. */
  cpus?: number | null;
  /** The memory of the instance, in MiB; null: what its customer's plan grants. */
  memory_mb?: number | null;
  /** What runs the instance. */
  driver?: "process" | "docker" | null;
  /** How long clients may wait; what takes longer is undone. */
  max_wait_seconds?: number;
  /** To leave behind what only an instance has, and to go on without what PostgreSQL does not build again. */
  accept_losses?: boolean;
  /** To see what it would do, and not do it. */
  dry_run?: boolean;
}

/** Until when nothing is sent about an alert's rule and subject. */
export interface Mute {
  until: string;
}

/** A finding that is not to be reported any more. */
export interface MuteAdvice {
  code: "unindexed_foreign_key" | "missing_index" | "unused_index" | "duplicate_index" | "invalid_index" | "no_primary_key" | "sequence_exhaustion" | "transaction_id_age" | "long_transaction" | "idle_in_transaction" | "stale_statistics" | "bloat" | "settings" | "policy_per_row" | "row_security_disabled" | "pool_too_small" | "cache_too_small";
  object: string;
}

/** A finding that was muted, or is reported again. */
export interface Muting {
  code: "unindexed_foreign_key" | "missing_index" | "unused_index" | "duplicate_index" | "invalid_index" | "no_primary_key" | "sequence_exhaustion" | "transaction_id_age" | "long_transaction" | "idle_in_transaction" | "stale_statistics" | "bloat" | "settings" | "policy_per_row" | "row_security_disabled" | "pool_too_small" | "cache_too_small";
  object: string;
}

/**
 * Names in a database, for completion: the columns of tables and views, by schema and name.
 *
 * `complete` is false if there are more.
 */
export interface Names {
  tables: Record<string, Record<string, Array<string>>>;
  functions: Array<string>;
  complete: boolean;
}

/** An API key with its secret, which is shown only once and stored as a hash. */
export interface NewApiKey {
  id: string;
  name: string;
  prefix: string;
  /** Active if the key and all of its grantors are. */
  status: "active" | "revoked" | "expired" | "suspended";
  /** What was granted. */
  scopes: Array<string>;
  /** What it may do now. */
  effective_scopes: Array<string>;
  customer_email: string | null;
  created_by: Creator;
  /** The key that created it, if no user did. */
  parent: Parent | null;
  /** When it, or one of its grantors, expires. */
  expires_at: string | null;
  revoked_at: string | null;
  last_used_at: string | null;
  created_at: string;
  key: string;
}

/** A new channel; a webhook's with the key that its messages are signed with, shown once. */
export interface NewChannel {
  id: string;
  name: string;
  kind: "email" | "webhook" | "slack" | "discord";
  target: string;
  events: Array<"alert.platform" | "alert.database" | "database.created" | "database.deleted" | "database.restored" | "database.log_paused" | "login.failed">;
  /** How often sending has failed since it last succeeded. */
  failures: number;
  retry_at: string | null;
  last_error: string | null;
  last_sent_at: string | null;
  created_at: string;
  signing_key: string | null;
  /** Why nothing can be sent to it as things are. */
  warning: string | null;
}

/**
 * A site with its new secrets, which are shown only once; null for one that was not replaced.
 *
 * ``redis_url`` has the password, if that is new.
 */
export interface NewSite {
  id: string;
  name: string;
  status: "active" | "starting" | "deleting";
  redis_url: string;
  cache_url: string;
  /** How the names of its keys and channels have to begin. */
  key_prefix: string;
  memory_mb: number;
  max_clients: number;
  eviction: "volatile-lru" | "volatile-ttl" | "allkeys-lru" | "allkeys-lfu" | "noeviction";
  persistence: "none" | "aof";
  semantic: "off" | "exact" | "shadow" | "on";
  isolation: "dedicated" | "shared";
  /** The addresses that its allowlist admits now; none: see reached_from. */
  networks: Array<string>;
  /** From everywhere; from the platform's machine and its allowlist's addresses; or from that machine only, as its list cannot be obeyed. */
  reached_from: "everywhere" | "allowlist" | "this_machine";
  /** Why a site with an allowlist is reached from the platform's machine only. */
  reached_why: string | null;
  created_at: string;
  updated_at: string;
  /** The bearer token of its requests to the AI cache. */
  api_key: string | null;
}

/** A user, with the generated password if any, which is shown only once and stored as a hash. */
export interface NewUser {
  id: string;
  email: string;
  name: string | null;
  role: "administrator" | "customer" | "viewer";
  customer_email: string | null;
  /** How many databases that customer has, which are those that the user sees. */
  customer_databases: number | null;
  /** Whether a login needs a code, too. */
  mfa: boolean;
  disabled_at: string | null;
  /** Until when some logins wait after failures, if that is still to come. */
  locked_until: string | null;
  last_login_at: string | null;
  created_at: string;
  password: string | null;
}

/**
 * A node of the plan, below the last one before it with a smaller ``depth``.
 *
 * ``share`` is its own part of the plan's time or, if it was not executed, of its cost.
 * ``row_error`` is by which factor the planner was wrong about the number of rows.
 */
export interface Node {
  depth: number;
  node_type: string;
  relation: string | null;
  index: string | null;
  self_cost: number;
  self_ms: number | null;
  planned_rows: number;
  actual_rows: number | null;
  loops: number | null;
  row_error: number | null;
  share: number;
  expensive: boolean;
}

/** What a statement has done in the present hour, which begins at ``hour``, so far. */
export interface Now {
  hour: string;
  calls: number;
  calls_per_second: number;
  mean_ms: number;
  /** Whether the server evicted entries in that hour. */
  incomplete: boolean;
}

/** A data API; its new secret and keys, which are shown only once, or null for those it had. */
export interface OpenedDataApi {
  database_id: string;
  database_name: string;
  rest_url: string;
  schemas: Array<string>;
  anonymous: boolean;
  open: boolean;
  max_rows: number | null;
  statement_timeout_ms: number | null;
  jwks_url: string | null;
  allowed_origins: Array<string>;
  /** Where users sign in; null without auth. */
  auth_url: string | null;
  auth: Auth | null;
  keys_issued_at: string;
  previous_keys_until: string | null;
  created_at: string;
  updated_at: string;
  /** 64 characters. */
  jwt_secret: string | null;
  /** For clients: a token of role anon. */
  anon_key: string | null;
  /** For your own servers: keep it secret. */
  service_role_key: string | null;
}

/** A database with its password, which is shown only once and not stored. */
export interface OpenedDatabase {
  id: string;
  name: string | null;
  friendly_name: string | null;
  database_name: string;
  username: string;
  owner_email: string | null;
  environment: string;
  /** Words by which lists are filtered, in order. */
  tags: Array<string>;
  kind: string;
  /** What runs its cluster. */
  driver: string;
  /** Its cluster's major version. */
  version: number;
  /** The name of its instance; null on a shared cluster. */
  container_name: string | null;
  /** How many processors its instance may use; null: all. */
  cpus: number | null;
  /** The memory of its instance, in MiB. */
  memory_mb: number | null;
  /** The cluster that it is on; direct connections go to that cluster's own port. */
  cluster: string;
  plan: string;
  max_connections: number;
  /** How long a pooled client keeps a server connection. */
  pool_mode: "transaction" | "session";
  /** The time zone that its sessions begin with. */
  timezone: string;
  limits: Limits;
  disk: Disk;
  shadow: boolean;
  /** An instance's database is creating until it can be used, and stopped or suspended with it. */
  status: "active" | "branching" | "deleting" | "creating" | "stopped" | "suspended";
  /** After how many seconds without a session its instance is suspended; null: never. */
  auto_suspend_seconds: number | null;
  /** What a direct connection to its suspended instance does. */
  auto_suspend_direct: "wake" | "refuse";
  /** Of a branch: what it was made from. */
  parent_id: string | null;
  /** When a branch was as its parent. */
  branched_at: string | null;
  /** When a branch is deleted. */
  expires_at: string | null;
  /** Since when its server does not have it; it is never created again by itself. */
  missing_since: string | null;
  /** Why it is not as it should be; null once that is put right. It is tried again every minute. */
  status_detail: string | null;
  /** When the platform last set the password of its owner role. */
  password_changed_at: string;
  /** After how many days its logins' passwords are replaced; null: never. */
  rotate_password_days: number | null;
  password_rotates_at: string | null;
  /** When a session of its tenant's was last seen, to five minutes; null if none was since watched_since. */
  last_active_at: string | null;
  /** Since when that is looked for; null if it never was. */
  watched_since: string | null;
  /** It wrote too much of what no quota counts. */
  paused: Paused | null;
  log: Log;
  blueprint: HasBlueprint | null;
  created_at: string;
  updated_at: string;
  password: string;
  connection_string: string;
  connection_string_pooled: string;
  shadow_database_url: string | null;
  shadow_database_url_pooled: string | null;
  prisma: Record<string, string>;
  connection: Connection;
  /** The import into it, or its blueprint, if it was made with import_from or blueprint; or the creation of its instance. */
  operation_id?: string | null;
}

/** An additional role with its password, which is shown only once and not stored. */
export interface OpenedRole {
  id: string;
  database_id: string;
  name: string;
  username: string;
  access: "read_only" | "read_write";
  max_connections: number;
  status: "active" | "deleting";
  connection_string: string;
  connection_string_pooled: string;
  prisma: Record<string, string>;
  connection: Connection;
  password_changed_at: string;
  created_at: string;
  updated_at: string;
  password: string;
}

export interface Operation {
  id: string;
  kind: string;
  resource_kind: string;
  resource_id: string;
  /** The database's, cluster's or site's, when the operation was asked for. */
  resource_name: string | null;
  database: OperationDatabase | null;
  status: string;
  step: string | null;
  progress: number;
  done_bytes: number | null;
  total_bytes: number | null;
  bytes_per_second: number | null;
  seconds_left: number | null;
  cancel_requested: boolean;
  result: Record<string, unknown> | null;
  error: Record<string, unknown> | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

/** The database of an operation. Names and environment are null once it is deleted. */
export interface OperationDatabase {
  id: string;
  database_name: string;
  name?: string | null;
  friendly_name?: string | null;
  environment?: string | null;
}

/** The key that created a key. */
export interface Parent {
  id: string;
  name: string;
}

/** A database as it was at `moment`. It can be read from when it has an expiry until then. */
export interface Past {
  /** That of the operation which makes it, too. */
  id: string;
  moment: string;
  created_at: string;
  expires_at: string | null;
}

/** A column that is compared, with the name of its type as PostgreSQL has it. */
export interface PastColumn {
  name: string;
  type: string;
}

/**
 * What a table was and is.
 *
 * Rows are the same by `key`, the primary key; if that is empty, whole rows are compared. Columns
 * that were added or dropped, and generated ones, are not compared. `truncated` is whether only
 * the first 100,000 differences are listed (fewer where keys are long); `blocked` is why rows
 * cannot be brought back. `moved` is the number of deleted rows whose values an added row has: if
 * their keys were changed, they are there twice after they are brought back.
 */
export interface PastComparison {
  id: string;
  schema: string;
  table: string;
  key: Array<string>;
  columns: Array<PastColumn>;
  only_then: Array<string>;
  only_now: Array<string>;
  counts: Counts;
  truncated: boolean;
  moved: number;
  blocked: string | null;
}

/**
 * A row that differs, by its place in the comparison. Values and keys are text, cut at 1,000
 * characters.
 *
 * `then` and `now` are in the order of the comparison's columns; null where there is no such row.
 * `restored` is whether the row is now as it was then, because it was brought back since.
 */
export interface PastDifference {
  place: number;
  kind: "deleted" | "changed" | "added";
  key: Array<string>;
  then: Array<string | null> | null;
  now: Array<string | null> | null;
  restored: boolean;
}

/** A pause: no client can connect until ``until``; ``detail`` says why and what to do. */
export interface Paused {
  until: string;
  reason: "wal" | "notify" | "log" | "temp" | "settings";
  detail: string;
}

export interface PersonSession {
  id: string;
  /** Whether it is the one that asks. */
  current: boolean;
  address: string | null;
  user_agent: string | null;
  created_at: string;
  last_used_at: string;
  expires_at: string;
}

/** A backup of a whole cluster. ``stored_bytes`` is the space that it alone takes. */
export interface PhysicalBackup {
  repository: number;
  label: string;
  type: "full" | "diff" | "incr";
  started_at: string;
  finished_at: string;
  size_bytes: number;
  stored_bytes: number;
  based_on: string | null;
  damaged: boolean;
  /** Of a time that a restore of the cluster has left behind: not used any more. */
  left: boolean;
}

/** Limits of a database, and sizes of what a customer creates; null: it has no such limit. */
export interface Plan {
  max_connections: number;
  pool_size: number;
  reserve_pool_size: number;
  disk_quota_bytes: number;
  temp_file_limit_bytes: number;
  statement_timeout_ms: number;
  lock_timeout_ms: number;
  idle_in_transaction_session_timeout_ms: number;
  cpu_weight: number;
  name: string;
  /** The longest that one statement of an operation may run. */
  longest_statement_seconds: number;
  /** The most dedicated instances of one customer. */
  max_instances: number | null;
  /** The processors of an instance that asks for none, and the most of one. */
  instance_cpus: number | null;
  /** The memory of an instance that asks for none, and the most of one. */
  instance_memory_mb: number | null;
  /** The most sites of one customer; null: TENANTRY_CUSTOMER_SITES. */
  max_sites: number | null;
  /** The memory of a site that asks for none, and the most of one. */
  site_memory_mb: number | null;
  /** The connections of a site that asks for none, and the most of one. */
  site_max_clients: number | null;
}

/**
 * The traffic of one database's pools since the pooler started.
 *
 * ``query_seconds`` is the duration of all queries together, ``wait_seconds`` what clients have
 * waited for a server connection.
 */
export interface PoolCounters {
  database: string;
  transactions: number;
  queries: number;
  bytes_received: number;
  bytes_sent: number;
  average_transaction_seconds: number;
  average_query_seconds: number;
  average_wait_seconds: number;
  query_seconds: number;
  wait_seconds: number;
}

/** One pool: clients served and waiting, server connections active and idle. */
export interface PoolUse {
  database: string;
  username: string;
  clients_active: number;
  clients_waiting: number;
  servers_active: number;
  servers_idle: number;
  longest_wait_seconds: number;
}

/** The state of the pooler, as the API shows it; ``memory_bytes`` is that of its process. */
export interface PoolerState {
  version: string;
  /** The most server connections of one pool, now. */
  pool_size: number;
  /** The most server connections of all pools together. */
  budget: number;
  clients: number;
  servers: number;
  memory_bytes: number;
  /** Above it, sessions are ended. */
  memory_limit_bytes: number;
  pools: Array<PoolUse>;
  stats: Array<PoolCounters>;
}

/** The contents of an import. A preview changes nothing. */
export interface Preview {
  /** Of the server that it is from, if known. */
  version: string | null;
  /** Of the tables there, or of the dump as it was sent. */
  size_bytes: number;
  schemas: Array<string>;
  tables: Array<PreviewTable>;
  extensions: Array<PreviewExtension>;
  roles: Array<PreviewRole>;
  /** Who can stand for a role, in map_roles. */
  logins: Array<string>;
  /** What is unlikely to be meant: there are no tables. */
  warnings: Array<string>;
  /** Of the dump that was sent: to import it within an hour. */
  upload_id: string | null;
}

/**
 * An extension, and whether it is available here; if not, it is left out.
 *
 * `used_by` names what depends on it at the source; it is empty for a dump, where it is unknown.
 */
export interface PreviewExtension {
  name: string;
  available: boolean;
  used_by: Array<string>;
}

/** An external database to preview. */
export interface PreviewImport {
  schemas?: Array<string>;
  /** As schema.table, or the name alone of one in public. */
  exclude_tables?: Array<string>;
  /** A database elsewhere to copy. The string is kept nowhere. */
  from: string;
}

/**
 * A role of the source: how many policies and grants name it, how many objects it owns.
 *
 * `login` is the role of the database that replaces it; if null, its policies and grants are
 * left out.
 */
export interface PreviewRole {
  name: string;
  policies: number;
  grants: number;
  owns: number;
  login: string | null;
}

/** A table to copy; its size includes its indexes and is null for a dump. */
export interface PreviewTable {
  schema: string;
  name: string;
  size_bytes: number | null;
}

/** A whole allowlist; an empty one allows connections from everywhere. */
export interface PreviewWhitelist {
  entries: Array<WhitelistEntryInput>;
}

/** The operator's prices, by model and day. */
export interface PriceList {
  /** Null if there are no prices. */
  currency: string | null;
  prices: Array<CachePriceOutput>;
}

/** A failed request (RFC 9457). */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  success: false;
  code: string;
  request_id: string;
  hint?: string | null;
  errors?: Array<FieldProblem> | null;
}

/** Options for promoting a branch into its parent. */
export interface PromoteBranch {
  /** To go on without what PostgreSQL does not build again, where a database is replaced; left out, the operation fails with `restore_would_lose` before that. */
  accept_losses?: boolean;
}

/** The password again, so that access to an open session alone does not suffice. */
export interface ProofInput {
  password: string;
}

/** The result of a drill: restoring the database into a sandbox, to ``moment``. */
export interface ProofOutput {
  /** That of the operation. */
  id: string;
  database_id: string;
  at: string;
  moment: string | null;
  seconds: number;
  passed: boolean;
  compared: Compared;
  error: string | null;
}

/** The whole configuration of a data API; what is left out has its default. */
export interface PutDataApi {
  /** The schemas whose tables and functions it shows; the first is the default. */
  schemas?: Array<string>;
  /** Whether requests without a token are answered, as anon. */
  anonymous?: boolean;
  /** Whether requests without a token may write, where anon may: for demos. */
  open?: boolean;
  /** The most rows in an answer; null: no limit. */
  max_rows?: number | null;
  /** The longest that a statement runs; null: the database's own. */
  statement_timeout_ms?: number | null;
  /** Where further public keys for tokens are (a JWK set). */
  jwks_url?: string | null;
  /** The websites that may call it (CORS); none: all. */
  allowed_origins?: Array<string>;
  /** The application's users; null: it has none here. */
  auth?: AuthBody | null;
  /** The secret that your tokens are signed with already. Default: a new one. */
  jwt_secret?: string | null;
}

/**
 * Statements, counted since ``counted_since``.
 *
 * ``incomplete_since`` is not null if the server has evicted entries since then. ``recorded`` is
 * false while new sessions' statements are not recorded, since their texts took too much space.
 */
export interface QueryListing {
  success?: true;
  /** How many are in this answer. */
  count: number;
  next_cursor?: string | null;
  data: Array<QueryStatistics>;
  counted_since: string;
  incomplete_since: string | null;
  recorded: boolean;
}

/**
 * A statement with parameters in place of its constants, of all roles of the database.
 *
 * ``share`` is its part of the time of all statements. ``wal_bytes`` is an estimate. ``min_ms``
 * and ``max_ms`` are null with ``since``. ``now`` and what follows it are null for an hour in
 * which it was not executed, or not one of the 50 that took most time, or that was not measured.
 * ``own`` is whether it is Tenantry's own, as of the console that shows rows.
 */
export interface QueryStatistics {
  query_id: string;
  database_name: string;
  query: string;
  calls: number;
  total_ms: number;
  mean_ms: number;
  min_ms: number | null;
  max_ms: number | null;
  rows: number;
  share: number;
  cache_hit_ratio: number | null;
  blocks_read: number;
  temp_bytes: number;
  wal_bytes: number;
  own: boolean;
  now: Now | null;
  hour_before: Before | null;
  day_before: Before | null;
  week_before: Before | null;
}

/** A share of cases with its interval of 95 %; null without any case. */
export interface Rate {
  cases: number;
  found: number;
  share: number | null;
  low: number;
  high: number;
}

export interface RecoveryCodes {
  /** Each opens once. Shown this once. */
  recovery_codes: Array<string>;
}

/** The indexes to rebuild, and the tables of which to rebuild all indexes. */
export interface Reindex {
  indexes?: Array<string>;
  tables?: Array<string>;
  /** How long to wait for transactions that are open. */
  lock_timeout_seconds?: number;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
}

/** An object that was not restored unchanged, and PostgreSQL's reason. */
export interface Remark {
  object: string;
  reason: string;
}

/** The password and a code of the authenticator. */
export interface RemoveTotp {
  password: string;
  code: string;
}

/** A removed entry. ``ended_sessions`` counts the sessions from its addresses. */
export interface RemovedEntry {
  id: string;
  ip_address: string;
  description: string | null;
  expires_at: string | null;
  created_at: string;
  /** Whether it was the last: all are admitted from now on. */
  opens: boolean;
  ended_sessions: number;
}

/**
 * A retained database, replaced, or left by a move. It does not count towards the quota.
 *
 * Clients cannot connect to it.
 */
export interface Replaced {
  id: string;
  database_id: string;
  database_name: string;
  operation_id: string;
  /** 0 for one that a move has left on another cluster. */
  size_bytes: number;
  /** Whether a restore to `previous`, or to its id, can put it in service again. */
  can_be_put_back: boolean;
  replaced_at: string;
  expires_at: string;
}

/** What a site's cache did in some days. ``redis`` is null while its Redis does not answer. */
export interface Report {
  site_id: string;
  from: string;
  to: string;
  currency: string | null;
  /** Models with tokens and without a price. */
  unpriced: Array<string>;
  total: ModelUsage;
  models: Array<ModelUsage>;
  exact_rate: Share;
  semantic_rate: Share;
  lookup: Durations;
  provider: Durations;
  similarities: Array<Similarity>;
  /** Refusals by guard. */
  vetoes: Record<string, number>;
  redis: Memory | null;
}

/** The database whose statements are counted again. */
export interface Reset {
  id: string;
}

/** The parent's state to which to reset a branch. */
export interface ResetBranch {
  at?: string | null;
  /** Whether to do the parent's masking in it; left out, if there is one. */
  masked?: boolean | null;
  /** To go on without what PostgreSQL does not build again, where a database is replaced; left out, the operation fails with `restore_would_lose` before that. */
  accept_losses?: boolean;
}

/** The moment or backup from which to restore a database, and where to. */
export interface Restore {
  /** A moment with its time zone; `latest`; `previous`, which is what the last restore in place has replaced; or the id of a backup, or of what was replaced. */
  to: "latest" | "previous" | string;
  /** A new database if left out. What was replaced only goes `in_place`. Of `tables`, copies in a new schema of the same database (`new`), or the rows that were deleted since, in their places (`rows`). */
  as?: "new" | "in_place" | "rows" | null;
  /** To bring only these back, from a moment, and nothing else. */
  tables?: Array<string> | null;
  /** For a new database, in the environment of the other one; none if left out, or if another database has taken it meanwhile. */
  name?: string | null;
  /** For a new database. */
  friendly_name?: string | null;
  /** To go on without what PostgreSQL does not build again, where a database is replaced; left out, the operation fails with `restore_would_lose` before that. */
  accept_losses?: boolean;
}

/** The moment to which to restore a whole cluster. */
export interface RestoreCluster {
  /** A moment with its time zone. */
  to: string;
}

/** The backup to restore. */
export interface RestoreSite {
  /** By default the newest one. */
  backup_id?: string | null;
}

/**
 * What one statement returned.
 *
 * Integers up to 2^53 and booleans are such, NULL is null, and everything else is text, as
 * PostgreSQL writes it. ``row_count`` is how many rows it returned or changed; ``truncated`` is
 * whether there were more than ``rows`` has. ``cut`` are values of which only the first 64 KiB
 * are there: row and column, from 0, and the bytes of the whole. ``notices`` are the server's.
 */
export interface Result {
  command: string;
  columns: Array<SqlRunsColumn>;
  rows: Array<Array<unknown>>;
  row_count: number;
  truncated: boolean;
  cut: Array<Array<number>>;
  notices: Array<string>;
  duration_ms: number;
}

/** An additional role of a database. Its connection strings have a mask for the password. */
export interface Role {
  id: string;
  database_id: string;
  name: string;
  username: string;
  access: "read_only" | "read_write";
  max_connections: number;
  status: "active" | "deleting";
  connection_string: string;
  connection_string_pooled: string;
  prisma: Record<string, string>;
  connection: Connection;
  password_changed_at: string;
  created_at: string;
  updated_at: string;
}

/** A new secret, and how long tokens of the present one remain valid. */
export interface RotateDataApi {
  /** 0 ends the present keys at once. */
  overlap_seconds?: number;
}

/** The secrets to replace. */
export interface RotateSite {
  /** The Redis password, the API key, or both. */
  secrets?: "all" | "password" | "api_key";
}

/** A row to insert, update or delete. */
export interface RowChange {
  action: "insert" | "update" | "delete";
  /** The values of the primary key, of a row to update or delete. */
  key?: Record<string, boolean | number | string | null>;
  /** The row's `xmin` when it was read: if it has another one, it has been changed since, and nothing is done. */
  xmin?: string | null;
  /** The new values. An inserted row has the defaults of columns left out. */
  values?: Record<string, boolean | number | string | null>;
}

/** The results of the statements, in order. */
export interface Run {
  results: Array<Result>;
}

/** Statements to run, as one transaction. */
export interface RunSql {
  sql: string;
  /** Whether it is an error to change something. Default: in production, and without the scope data:write. */
  read_only?: boolean | null;
  timeout_ms?: number;
  /** The most rows of each result. */
  max_rows?: number;
  /** Whether to add the text to your history, once it has succeeded. */
  remember?: boolean;
}

/** A text to save by a name, for the caller alone. */
export interface SaveSql {
  name: string;
  sql: string;
}

/**
 * The backup schedule of a database.
 *
 * ``source`` is ``own`` for the database's own schedule, ``default`` for its environment's.
 */
export interface Schedule {
  every: "off" | "day" | "week";
  hour: number;
  format: "custom" | "plain";
  keep_count: number;
  keep_days: number;
  keep_manual_days: number | null;
  source: "own" | "default";
  /** When the next backup is due; null: never. */
  next_at: string | null;
  last_attempt: LastAttempt | null;
}

/** An object that differs, with its definitions in PostgreSQL's own notation. */
export interface SchemaDifference {
  kind: string;
  name: string;
  /** In the branch. */
  status: "added" | "removed" | "changed";
  parent: string | null;
  branch: string | null;
}

/** A figure over time: at each point its mean rate, or its maximum, from there to the next. */
export interface Series {
  name: string;
  unit: string;
  /** Time and value; null where it is not known. */
  points: Array<Array<string | number | null>>;
}

/** Which statements of a database to log; an omitted setting is turned off. */
export interface SetLog {
  statements?: "none" | "ddl" | "mod" | "all";
  min_duration_ms?: number | null;
  errors?: boolean;
  keep_days?: number | null;
}

/** SQL that masks each branch of a database before clients can connect; null means none. */
export interface SetMasking {
  sql: string | null;
}

/** Parameters of an instance's server to set; one that is null is the default again. */
export interface SetParameters {
  parameters?: Record<string, string | null>;
  /** Whether to restart the instance if parameters need it, which ends all its sessions. Otherwise these wait for the next restart. */
  restart?: boolean;
}

/** A database's own thresholds; the platform's are in force for one that is left out. */
export interface SetThresholds {
  disk_percent?: number | null;
  connections_percent?: number | null;
  transaction_minutes?: number | null;
  deadlocks?: number | null;
  rollback_percent?: number | null;
  slower_percent?: number | null;
}

/** A parameter of PostgreSQL that can be set for an instance. */
export interface Setting {
  name: string;
  /** What is in force. */
  value: string;
  /** What its owner has set; null: the default. */
  set_to: string | null;
  /** What an instance of this size has otherwise. */
  default: string;
  /** The unit of min and max, and of a value without one. */
  unit: string | null;
  type: "bool" | "integer" | "real" | "enum" | "string";
  min: string | null;
  max: string | null;
  /** The values of an enum. */
  choices: Array<string> | null;
  /** When PostgreSQL takes a change up, as in pg_settings: with postmaster at the next restart. */
  context: string;
  category: string;
  description: string;
  pending_restart: boolean;
}

/** A share of cases, and the interval that has the true one with a confidence of 95 %. */
export interface Share {
  cases: number;
  found: number;
  /** Null without cases. */
  share: number | null;
  low: number;
  high: number;
}

/** Which session is meant, so that a later one with its process ID is left alone. */
export interface SignalSession {
  /** The session's `started_at`: another one gets no signal. */
  started_at?: string | null;
}

/** The session that got the signal. ``done`` is false if a terminated one has not ended yet. */
export interface SignalledSession {
  pid: number;
  database_name: string;
  role: string;
  started_at: string;
  done: boolean;
}

/** Searches by the cosine of the nearest stored question: from this one to the next. */
export interface Similarity {
  cosine: number;
  searches: number;
}

/** A site of the AI cache. ``redis_url`` is without the password. */
export interface Site {
  id: string;
  name: string;
  status: "active" | "starting" | "deleting";
  redis_url: string;
  cache_url: string;
  /** How the names of its keys and channels have to begin. */
  key_prefix: string;
  memory_mb: number;
  max_clients: number;
  eviction: "volatile-lru" | "volatile-ttl" | "allkeys-lru" | "allkeys-lfu" | "noeviction";
  persistence: "none" | "aof";
  semantic: "off" | "exact" | "shadow" | "on";
  isolation: "dedicated" | "shared";
  /** The addresses that its allowlist admits now; none: see reached_from. */
  networks: Array<string>;
  /** From everywhere; from the platform's machine and its allowlist's addresses; or from that machine only, as its list cannot be obeyed. */
  reached_from: "everywhere" | "allowlist" | "this_machine";
  /** Why a site with an allowlist is reached from the platform's machine only. */
  reached_why: string | null;
  created_at: string;
  updated_at: string;
}

/** A copy of a site's data, in the platform's repositories. Null is what is not known yet. */
export interface SiteBackup {
  id: string;
  site_id: string;
  site_name: string;
  origin: "manual" | "scheduled";
  status: "making" | "ready";
  /** Of its file. */
  size_bytes: number | null;
  /** What its Redis had in memory. */
  memory_bytes: number | null;
  keys: number | null;
  server: string | null;
  sha256: string | null;
  created_at: string;
  finished_at: string | null;
}

export interface SiteKey {
  key: string;
  type: string;
  /** Null if it does not expire. */
  ttl_seconds: number | null;
  bytes: number;
}

/** The settings of a site's proxy. Of keys it says only whether there is one. */
export interface SiteProxy {
  openai_url: string;
  has_openai_key: boolean;
  anthropic_url: string;
  has_anthropic_key: boolean;
  /** null: no limit. */
  requests_per_minute: number | null;
  /** null: no limit. */
  tokens_per_day: number | null;
  /** Requests with a higher one are not cached. */
  most_temperature: number;
}

/**
 * What a site holds now, and has done since its Redis started.
 *
 * Null is what a shared Redis counts for all its sites only.
 */
export interface SiteStats {
  server: string;
  uptime_seconds: number;
  /** What counts against the limit. */
  memory_bytes: number;
  memory_limit_bytes: number;
  /** What its process takes. */
  process_bytes: number;
  keys: number;
  clients: number;
  max_clients: number;
  commands: number | null;
  hits: number | null;
  misses: number | null;
  evicted_keys: number | null;
  expired_keys: number | null;
}

export interface SlowCommand {
  at: string;
  milliseconds: number;
  command: string;
  key: string;
}

export interface Sparkline {
  name: string;
  unit: string;
  values: Array<number | null>;
}

/** Short series of a database: a value for each step. */
export interface Sparklines {
  database_id: string;
  from: string;
  step_seconds: number;
  series: Array<Sparkline>;
}

/** A column of a result, with the name of its type as PostgreSQL has it. */
export interface SqlRunsColumn {
  name: string;
  type: string;
}

/** A text of the caller's: saved by a name, or, without one, run the last time at `used_at`. */
export interface SqlText {
  id: string;
  name: string | null;
  sql: string;
  used_at: string;
}

/**
 * The blueprint of a database, and its version as read from the database.
 *
 * ``version`` is null if no version is complete in it; ``migration`` and ``dirty`` are those of
 * its migrations.
 */
export interface StandingBlueprint {
  name: string;
  version: number | null;
  newest: number;
  behind: boolean;
  migration: number | null;
  dirty: boolean;
}

/** The judged hits at or above a cosine, and the rate that their error is at most. */
export interface Step {
  cosine: number;
  judged: number;
  wrong: number;
  at_most: number;
}

export interface Strings {
  database_id: string;
  database_name: string;
  username: string;
  connection_string: string;
  connection_string_pooled: string;
  shadow_database_url: string | null;
  shadow_database_url_pooled: string | null;
  prisma: Record<string, string>;
  connection: Connection;
}

/**
 * The rows of a table then and now; null for a reason that `then_why` or `now_why` names.
 *
 * `missing`: there was, or is, no such table. `unlogged`: no backup has its rows. `forbidden`: the
 * owner role may not read all of them. `no_time`: they are too many to be counted in a minute.
 */
export interface TableRows {
  schema: string;
  table: string;
  then: number | null;
  then_why: "" | "missing" | "unlogged" | "forbidden" | "no_time";
  now: number | null;
  now_why: "" | "missing" | "unlogged" | "forbidden" | "no_time";
}

/** The result of a run in one database. */
export interface Target {
  database_id: string;
  database_name: string;
  name: string | null;
  environment: string;
  status: "pending" | "running" | "succeeded" | "failed" | "skipped";
  version: number | null;
  dirty: boolean | null;
  steps: number | null;
  error: Record<string, unknown> | null;
  started_at: string | null;
  finished_at: string | null;
}

/** The threshold in force, and what was measured there. */
export interface Threshold {
  cosine: number;
  similarity: number;
  budget: number | null;
  hit_rate: Rate;
  false_hit_rate: Rate;
  vetoes: Record<string, number>;
  unjudged: number;
}

/** A token for requests to the data API; it is shown only once. */
export interface Token {
  token: string;
  role: string;
  sub: string | null;
  expires_at: string;
}

/** The authenticator's current code. */
export interface TotpCode {
  code: string;
}

export interface TotpSecret {
  /** For the authenticator, in Base32. Shown this once. */
  secret: string;
  /** The same as an otpauth:// URI, for a QR code. */
  uri: string;
}

/** Changes to a customer. */
export interface UpdateCustomer {
  /** One of GET /api/plans. */
  plan: string;
}

/** Changes to a database; omitted fields stay unchanged. A null limit is the plan's again. */
export interface UpdateDatabase {
  max_connections?: number | null;
  pool_size?: number | null;
  reserve_pool_size?: number | null;
  disk_quota_bytes?: number | null;
  temp_file_limit_bytes?: number | null;
  statement_timeout_ms?: number | null;
  lock_timeout_ms?: number | null;
  idle_in_transaction_session_timeout_ms?: number | null;
  cpu_weight?: number | null;
  friendly_name?: string | null;
  /** What it is called by; connection strings stay as they are. */
  name?: string | null;
  /** The time zone that its sessions begin with; at first UTC. Each session may change it, and a login that has one of its own keeps that. */
  timezone?: string | null;
  /** Words by which lists of databases and runs over many are filtered; a change replaces them all. */
  tags?: Array<string> | null;
  /** After how many seconds without a session an instance is suspended, until the next connection through the pooler: 60 at least; null or 0 is never. */
  auto_suspend_seconds?: number | null;
  /** What a direct connection to a suspended instance does: wake it, for which all direct connections pass through the platform, or refuse. From the instance's next start. */
  auto_suspend_direct?: "wake" | "refuse" | null;
  /** Where it is listed. Connection strings, data, limits and logins stay. */
  environment?: "production" | "staging" | "development" | null;
  /** Whose it shall be, if it is nobody's; by administrators. The owner's keys and users see it then, with its backups. An owner is not changed. */
  owner_email?: string | null;
  /** Whether the address may be a new customer's. False refuses one that no customer has, with unknown_customer. */
  new_customer?: boolean;
  /** One of GET /api/plans. Its limits hold at once, but for those that the database has of its own. */
  plan?: string | null;
  /** How long a pooled client keeps a server connection: for a transaction, after which the session is reset, or until it disconnects. */
  pool_mode?: "transaction" | "session" | null;
  /** When to delete a branch; null is never. */
  expires_at?: string | null;
  /** After how many days to replace the passwords of its logins, the first time in 7 days at the earliest; null is never. */
  rotate_password_days?: number | null;
  /** How many processors its instance may use; null: all. */
  cpus?: number | null;
  /** The memory of its instance, in MiB. */
  memory_mb?: number | null;
  /** Whether to restart the instance if parameters need it, which ends all its sessions. Otherwise these wait for the next restart. */
  restart?: boolean;
}

/** Sizes of a pricing plan; null is no limit of the plan's, an omitted one stays unchanged. */
export interface UpdatePlan {
  /** The most dedicated instances of one customer. */
  max_instances?: number | null;
  /** The processors of an instance that asks for none, and the most of one. */
  instance_cpus?: number | null;
  /** The memory of an instance that asks for none, and the most of one, in MiB. */
  instance_memory_mb?: number | null;
  /** The most sites of one customer; null: TENANTRY_CUSTOMER_SITES. */
  max_sites?: number | null;
  /** The memory of a site that asks for none, and the most of one, in MiB. */
  site_memory_mb?: number | null;
  /** The connections of a site that asks for none, and the most of one. */
  site_max_clients?: number | null;
}

/** Changes to an additional role. */
export interface UpdateRole {
  /** The most connections at once, direct and pooled together. */
  max_connections: number;
}

/** Changes to a site; omitted fields stay unchanged. */
export interface UpdateSite {
  name?: string | null;
  memory_mb?: number | null;
  max_clients?: number | null;
  /** What Redis deletes once the memory is full: its maxmemory-policy. */
  eviction?: "volatile-lru" | "volatile-ttl" | "allkeys-lru" | "allkeys-lfu" | "noeviction" | null;
  /** Whether its keys survive a restart: aof writes each change, at most a second late. */
  persistence?: "none" | "aof" | null;
  /** How the cache answers; on and shadow compare prompts by meaning. */
  semantic?: "off" | "exact" | "shadow" | "on" | null;
  networks?: Array<string> | null;
}

/** What to change. null: the default. */
export interface UpdateSiteProxy {
  /** In front of /v1/chat/completions; default: https://api.openai.com. Another one without its key removes the key. */
  openai_url?: string | null;
  /** null: each request brings its own, as X-Upstream-Key. */
  openai_key?: string | null;
  /** In front of /v1/messages; default: https://api.anthropic.com. As openai_url. */
  anthropic_url?: string | null;
  /** As openai_key. */
  anthropic_key?: string | null;
  /** To providers; hits do not count. null: no limit. */
  requests_per_minute?: number | null;
  /** Of a day in UTC, as the providers count them. null: no limit. */
  tokens_per_day?: number | null;
  /** Requests with a higher one are not cached; default: 1. */
  most_temperature?: number | null;
}

/** Changes to a user; omitted fields stay unchanged. */
export interface UpdateUser {
  name?: string | null;
  disabled?: boolean | null;
}

/** A changed database; of an instance with another size, with what waits for its restart. */
export interface UpdatedDatabase {
  id: string;
  name: string | null;
  friendly_name: string | null;
  database_name: string;
  username: string;
  owner_email: string | null;
  environment: string;
  /** Words by which lists are filtered, in order. */
  tags: Array<string>;
  kind: string;
  /** What runs its cluster. */
  driver: string;
  /** Its cluster's major version. */
  version: number;
  /** The name of its instance; null on a shared cluster. */
  container_name: string | null;
  /** How many processors its instance may use; null: all. */
  cpus: number | null;
  /** The memory of its instance, in MiB. */
  memory_mb: number | null;
  /** The cluster that it is on; direct connections go to that cluster's own port. */
  cluster: string;
  plan: string;
  max_connections: number;
  /** How long a pooled client keeps a server connection. */
  pool_mode: "transaction" | "session";
  /** The time zone that its sessions begin with. */
  timezone: string;
  limits: Limits;
  disk: Disk;
  shadow: boolean;
  /** An instance's database is creating until it can be used, and stopped or suspended with it. */
  status: "active" | "branching" | "deleting" | "creating" | "stopped" | "suspended";
  /** After how many seconds without a session its instance is suspended; null: never. */
  auto_suspend_seconds: number | null;
  /** What a direct connection to its suspended instance does. */
  auto_suspend_direct: "wake" | "refuse";
  /** Of a branch: what it was made from. */
  parent_id: string | null;
  /** When a branch was as its parent. */
  branched_at: string | null;
  /** When a branch is deleted. */
  expires_at: string | null;
  /** Since when its server does not have it; it is never created again by itself. */
  missing_since: string | null;
  /** Why it is not as it should be; null once that is put right. It is tried again every minute. */
  status_detail: string | null;
  /** When the platform last set the password of its owner role. */
  password_changed_at: string;
  /** After how many days its logins' passwords are replaced; null: never. */
  rotate_password_days: number | null;
  password_rotates_at: string | null;
  /** When a session of its tenant's was last seen, to five minutes; null if none was since watched_since. */
  last_active_at: string | null;
  /** Since when that is looked for; null if it never was. */
  watched_since: string | null;
  /** It wrote too much of what no quota counts. */
  paused: Paused | null;
  log: Log;
  blueprint: HasBlueprint | null;
  created_at: string;
  updated_at: string;
  /** The parameters that follow the new memory once its instance is restarted. */
  pending_restart?: Array<string> | null;
  /** The restart of its instance, if one has begun. */
  operation_id?: string | null;
}

export interface User {
  id: string;
  email: string;
  name: string | null;
  role: "administrator" | "customer" | "viewer";
  customer_email: string | null;
  /** How many databases that customer has, which are those that the user sees. */
  customer_databases: number | null;
  /** Whether a login needs a code, too. */
  mfa: boolean;
  disabled_at: string | null;
  /** Until when some logins wait after failures, if that is still to come. */
  locked_until: string | null;
  last_login_at: string | null;
  created_at: string;
}

/** The tables to vacuum. Default: all that the database's owner role owns. */
export interface Vacuum {
  tables?: Array<string>;
  /** How long to wait for each table. */
  lock_timeout_seconds?: number;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
  /** Whether to collect statistics, too. */
  analyze?: boolean;
}

/** The tables to rewrite. Default: those that would give back a tenth of their size or more. */
export interface VacuumFull {
  tables?: Array<string>;
  /** How long to wait for each table; who comes meanwhile waits behind. */
  lock_timeout_seconds?: number;
  /** How long each statement may run, up to the plan's longest_statement_seconds. */
  statement_timeout_seconds?: number | null;
}

/** A table with its indexes. ``returned_bytes`` is an estimate, null if there is none. */
export interface VacuumingTable {
  table: string;
  size_bytes: number;
  returned_bytes: number | null;
}

/**
 * A session in the blocking tree: followed by those that wait for it, one ``depth`` deeper.
 *
 * ``blocks`` is how many sessions wait for it, directly or not. ``lock`` is null if it waits for
 * none.
 */
export interface Waiting {
  pid: number;
  database_name: string;
  role: string;
  application: string;
  port: "direct" | "pooled";
  client_address: string | null;
  state: string | null;
  query: string;
  query_id: string | null;
  started_at: string;
  transaction_started_at: string | null;
  query_started_at: string | null;
  age_seconds: number;
  transaction_seconds: number | null;
  state_seconds: number | null;
  wait_event_type: string | null;
  wait_event: string | null;
  blocked_by: Array<number>;
  blocked_by_others: boolean;
  depth: number;
  blocks: number;
  lock: Lock | null;
}

/** A whole allowlist; an empty one allows connections from everywhere. */
export interface Whitelist {
  entries: Array<WhitelistEntryInput>;
  /** That of a preview: if the list has changed since, nothing is done. */
  version?: string | null;
}

/** An entry that would be added, changed or removed, as it would be, or was if removed. */
export interface WhitelistChange {
  action: "add" | "change" | "remove";
  ip_address: string;
  description: string | null;
  expires_at: string | null;
}

/** An address or a CIDR range to allow; host bits of a range are cut off. */
export interface WhitelistEntryInput {
  ip_address: string;
  description?: string | null;
  expires_at?: string | null;
}

export interface WhitelistEntryOutput {
  id: string;
  ip_address: string;
  description: string | null;
  expires_at: string | null;
  created_at: string;
}

/** The allowlist; ``caller_address`` is the address of this request as the server sees it. */
export interface WhitelistListing {
  success?: true;
  /** How many are in this answer. */
  count: number;
  next_cursor?: string | null;
  data: Array<WhitelistEntryOutput>;
  caller_address: string | null;
}

/** What replacing the allowlist would do; ``version`` is that of the list as it is. */
export interface WhitelistPreview {
  changes: Array<WhitelistChange>;
  /** Whether it is the first list: all others would be refused. */
  closes: boolean;
  /** Whether no entry is left: all addresses would be admitted. */
  opens: boolean;
  ending_sessions: Array<EndingSessions>;
  version: string;
}

/**
 * A blueprint in full; ``isolation`` holds the arguments for ``tenantry_rls check``.
 *
 * ``data_api`` is null if new databases have none.
 */
export interface WholeBlueprint {
  name: string;
  title: string;
  description: string;
  version: number;
  extensions: Array<string>;
  seeds: Array<string>;
  readme: string;
  versions: Array<BlueprintsVersion>;
  roles: Array<BlueprintRole>;
  data_api: BlueprintDataApi | null;
  isolation: Record<string, unknown>;
  migrations: Array<BlueprintMigration>;
}

export interface AdviceOperations {
  /** List what is wrong with the database and what to do, the most severe first. */
  advice(identifier: string, query?: { muted?: boolean }): Promise<Array<Finding>>;
  /** Mute a finding: it is listed with ``muted=true`` only. */
  mute(identifier: string, body: MuteAdvice, options?: PostOptions): Promise<Muting>;
  /** Report a muted finding again. */
  unmute(identifier: string, query: { code: "unindexed_foreign_key" | "missing_index" | "unused_index" | "duplicate_index" | "invalid_index" | "no_primary_key" | "sequence_exhaustion" | "transaction_id_age" | "long_transaction" | "idle_in_transaction" | "stale_statistics" | "bloat" | "settings" | "policy_per_row" | "row_security_disabled" | "pool_too_small" | "cache_too_small"; object: string }): Promise<Muting>;
}

export interface AlertsOperations {
  /** List alerts, the newest first. Customers see those of their databases. */
  list(query?: { state?: "pending" | "firing" | "resolved"; rule?: string; severity?: "warning" | "critical"; limit?: number; database_id?: string }): AsyncGenerator<Alert>;
  /** Record that somebody attends to an alert. */
  acknowledge(identifier: string, options?: PostOptions): Promise<Alert>;
  /** Send nothing about the alert's rule and subject until then; a past moment ends that. */
  mute(identifier: string, body: Mute, options?: PostOptions): Promise<Alert>;
  /** Resolve a firing alert by hand. It fires again only once its condition was gone. */
  resolve(identifier: string, options?: PostOptions): Promise<Alert>;
  /** List the channels of the platform, or of the caller's customer, without their secrets. */
  channels(): Promise<Array<Channel>>;
  /** Create a channel. The key of a webhook's signatures is shown only in this answer. */
  createChannel(body: CreateChannel, options?: PostOptions): Promise<NewChannel>;
  /** Delete a channel, with the messages that wait for it. */
  deleteChannel(identifier: string): Promise<Channel>;
  /** Send a test message now. The answer says whether the channel accepted it. */
  testChannel(identifier: string): Promise<Channel>;
  /** Return the database's own thresholds of alerts; null means the platform's. */
  settings(identifier: string): Promise<AlertSettings>;
  /** Replace the database's own thresholds of alerts. */
  changeSettings(identifier: string, body: SetThresholds): Promise<AlertSettings>;
}

export interface AuditOperations {
  /** List changes and refusals, newest first, each with its actor, action, target and result. */
  list(query?: { limit?: number; action?: string; resource_id?: string; actor?: string; result?: "ok" | "accepted" | "refused" | "failed"; since?: string; until?: string }): AsyncGenerator<AuditEntry>;
  /** Stream the audit log as JSON objects, one per line, newest first. */
  export(query?: { action?: string; resource_id?: string; actor?: string; result?: "ok" | "accepted" | "refused" | "failed"; since?: string; until?: string }): Promise<Uint8Array>;
}

export interface AuthOperations {
  /** Log in. Returns a session token, or a challenge if the user has an authenticator. */
  login(body: LoginInput): Promise<LoginOutput>;
  /** Complete a login: answer its challenge with an authenticator or recovery code. */
  mfa(body: LoginCode): Promise<LoginOutput>;
  /** End the current session. */
  logout(): Promise<Done>;
  /** Return the caller's identity and permissions. */
  me(): Promise<Me>;
  /** List the caller's own sessions, newest first. */
  sessions(query?: { limit?: number }): AsyncGenerator<PersonSession>;
  /** End one of the caller's own sessions. */
  revokeSession(identifier: string): Promise<PersonSession>;
  /** Change the caller's own password and end all other sessions of the caller. */
  changePassword(body: ChangePassword): Promise<Done>;
  /** Create a secret for an authenticator; it takes effect once .../totp/confirm gets a code. */
  beginTotp(body: ProofInput, options?: PostOptions): Promise<TotpSecret>;
  /** Confirm the new authenticator with a code. From then on every login requires one. */
  confirmTotp(body: TotpCode, options?: PostOptions): Promise<RecoveryCodes>;
  /** Remove the authenticator. Logins then require no code. */
  removeTotp(body: RemoveTotp): Promise<Done>;
  /** Create new recovery codes and invalidate the old ones. */
  recoveryCodes(body: ProofInput, options?: PostOptions): Promise<RecoveryCodes>;
}

export interface BackupSchedulesOperations {
  /** Return the database's backup schedule, its retention, and the result of the last backup. */
  show(identifier: string): Promise<Schedule>;
  /** Set the database's own schedule. Backups past their retention are removed within a minute. */
  setOwn(identifier: string, body: BackupSchedule): Promise<Schedule>;
  /** Remove the database's own schedule, so that its environment's default applies again. */
  removeOwn(identifier: string): Promise<Schedule>;
  /** List the default schedules of the environments. */
  defaults(): Promise<Array<Default>>;
  /** Set an environment's default schedule, for all databases without a schedule of their own. */
  setDefault(environment: string, body: BackupSchedule): Promise<Default>;
}

export interface BackupsOperations {
  /** List the database's logical backups, newest first, including those of a deleted database. */
  list(identifier: string, query?: { limit?: number }): AsyncGenerator<Backup>;
  /** Create a logical backup without interrupting the database. The result has the backup's id. */
  create(identifier: string, body: CreateBackup, options?: PostOptions): Promise<Operation>;
  /** Return one backup. */
  show(identifier: string, backup_id: string): Promise<Backup>;
  /** Delete a backup and its file. Audit entries remain. */
  delete(identifier: string, backup_id: string): Promise<DeletedBackup>;
  /** Download the file. Repr-Digest (RFC 9530) has its SHA-256; range requests are supported. */
  download(identifier: string, backup_id: string): Promise<Uint8Array>;
  /** Read the file and compare it with its recorded hash. The result is ready or damaged. */
  verify(identifier: string, backup_id: string, options?: PostOptions): Promise<Operation>;
}

export interface BlueprintsOperations {
  /** List the available blueprints by name. */
  list(): Promise<Array<Blueprint>>;
  /** Return a blueprint: its README, versions, roles, extensions, data API and migrations. */
  show(name: string): Promise<WholeBlueprint>;
  /** Return the blueprint of a database, its version, and whether there is a newer one. */
  standing(identifier: string): Promise<StandingBlueprint>;
  /**
   * Apply a blueprint to a database, or upgrade it from an earlier version of the blueprint.
   *
   * Migrations run with the rights of the owner role. Missing roles of the blueprint are created.
   */
  apply(identifier: string, body: ApplyBlueprint, options?: PostOptions): Promise<AppliedBlueprint>;
  /**
   * Compare a database with its blueprint at the database's own version.
   *
   * The blueprint is applied to a scratch database for this, which takes a second or two.
   */
  compare(identifier: string): Promise<BlueprintsComparison>;
}

export interface BranchesOperations {
  /**
   * Create a database with a copy of this one's data. Its password is shown only in this answer.
   *
   * The password is valid once the operation has succeeded.
   */
  create(identifier: string, body: CreateBranch, options?: PostOptions): Promise<Branch>;
  /** List the database's branches, newest first. */
  list(identifier: string, query?: { limit?: number }): AsyncGenerator<Database>;
  /**
   * Compare the branch's schema with the parent's: tables, columns, indexes, policies and so on.
   *
   * Rows are not compared.
   */
  compare(identifier: string, branch_id: string): Promise<Array<SchemaDifference>>;
  /**
   * Reset a branch to its parent's present or past state.
   *
   * The branch's previous contents are retained for a while.
   */
  reset(identifier: string, branch_id: string, body: ResetBranch, options?: PostOptions): Promise<Operation>;
  /**
   * Replace the parent's contents with this branch's; the parent's connection strings stay valid.
   *
   * The parent's previous contents are retained for a while, and the branch remains.
   */
  promote(identifier: string, body?: PromoteBranch, options?: PostOptions): Promise<Operation>;
  /** Return the SQL that masks each branch before clients can connect. */
  masking(identifier: string): Promise<Masking>;
  /** Set the SQL that masks each new branch before clients can connect; null removes it. */
  setMasking(identifier: string, body: SetMasking): Promise<Masking>;
}

export interface CacheUsageOperations {
  /** Return what a site's cache did over time: a series for each figure, ready to be drawn. */
  analytics(identifier: string, query?: { from?: string; to?: string; step?: number; model?: string }): Promise<Analytics>;
  /** Return what a site's cache did in the last days, what it saved, and what takes its memory. */
  report(identifier: string, query?: { days?: number }): Promise<Report>;
  /** Return the operator's prices of tokens, by which savings are valued. */
  prices(): Promise<PriceList>;
  /** Replace all prices. What was counted earlier is valued by them, too. */
  replacePrices(body: CachePrices): Promise<PriceList>;
}

export interface ClustersOperations {
  /** List the PostgreSQL clusters. */
  list(): Promise<Array<Cluster>>;
  /**
   * Add a shared cluster. New databases go to the cluster that has most free connections.
   *
   * Each shared cluster gets an equal part of the memory; those that run already give their part up
   * when they are next started.
   */
  add(body: AddCluster, options?: PostOptions): Promise<Operation>;
  /** Return each repository's backups of a cluster and the earliest moment to restore. */
  backups(identifier: string): Promise<ClusterBackups>;
  /** Create a backup in every repository, then remove backups past their retention. */
  backUp(identifier: string, body: BackUpCluster, options?: PostOptions): Promise<Operation>;
  /** Read all backups and WAL of a cluster; the operation fails if anything is damaged. */
  verify(identifier: string, options?: PostOptions): Promise<Operation>;
  /**
   * Restore a whole shared cluster, with all its databases, to a point in time.
   *
   * The cluster serves until its replacement is built and checked; then all sessions end for a few
   * seconds. The old cluster is retained. All other operations are cancelled.
   */
  restore(identifier: string, body: RestoreCluster, options?: PostOptions): Promise<Operation>;
}

export interface CustomersOperations {
  /** List customers, newest first. ``search`` matches a part of their addresses, in any case. */
  list(query?: { email?: string; search?: string; limit?: number }): AsyncGenerator<Customer>;
  /** Return one customer. */
  show(identifier: string): Promise<Customer>;
  /** Give a customer another pricing plan; what it has stays as it is. */
  update(identifier: string, body: UpdateCustomer): Promise<Customer>;
  /** Remove a customer without databases, users, valid API keys, backups, sites and open work. */
  remove(identifier: string): Promise<Customer>;
}

export interface DataApiOperations {
  /** Return how a database's data API is configured, without its keys. */
  show(identifier: string): Promise<DataApi>;
  /**
   * Enable a database's data API, or replace its configuration.
   *
   * The secret and the keys of a new one are shown only in this answer.
   */
  put(identifier: string, body: PutDataApi): Promise<OpenedDataApi>;
  /** Disable a database's data API, and forget its keys. What was granted to anon stays. */
  disable(identifier: string): Promise<DisabledDataApi>;
  /** Replace the secret and the keys, which are shown only in this answer. */
  rotate(identifier: string, body: RotateDataApi, options?: PostOptions): Promise<OpenedDataApi>;
  /** Sign a token with the present secret. It cannot be revoked alone: rotation ends all. */
  issueToken(identifier: string, body: CreateToken, options?: PostOptions): Promise<Token>;
}

export interface DatabasesOperations {
  /**
   * Create a database. Its password is shown only in this answer.
   *
   * ``import_from`` copies another database into it; ``blueprint`` gives it a schema, with the roles
   * and the data API that belong to it. ``operation_id`` is the operation that does either. A
   * blueprint is applied before this answers unless it takes longer than ten seconds. With the kind
   * ``dedicated`` the answer is 202: strings and password are valid once ``operation_id`` succeeded.
   */
  create(body: CreateDatabase, options?: PostOptions): Promise<CreatedDatabase>;
  /** List databases, newest first. ``search`` matches names, friendly names and owners. */
  list(query?: { environment?: "production" | "staging" | "development"; status?: "active" | "branching" | "deleting"; owner?: string; search?: string; blueprint?: string; tag?: Array<string>; unused_since?: string; limit?: number }): AsyncGenerator<Database>;
  /** Return one database. */
  show(identifier: string): Promise<Database>;
  /**
   * Change attributes and limits of a database, and the size of its instance.
   *
   * Open sessions are unaffected, unless the database goes over its disk quota or back under it. An
   * instance has its new size at once; parameters that follow it and need a restart are listed in
   * ``pending_restart``, or with ``restart`` the instance is restarted: then the answer is 202.
   */
  update(identifier: string, body: UpdateDatabase): Promise<UpdatedDatabase>;
  /**
   * Delete a database with its shadow and roles, and end all their sessions.
   *
   * Audit entries remain. Its logical backups are removed within a minute, or with ``keep_backups``
   * remain until they are deleted.
   */
  delete(identifier: string, query?: { keep_backups?: boolean }): Promise<Deleted>;
  /**
   * Replace the pooler's server connections of the database and its shadow.
   *
   * No client is disconnected: clients wait up to a second for open transactions, and a longer
   * transaction keeps its connection to its end. In session mode a client keeps its connection until
   * it disconnects. With ``end_clients`` all pooled sessions end at once.
   */
  reconnectPool(identifier: string, query?: { end_clients?: boolean }, options?: PostOptions): Promise<Database>;
  /** Return all connection strings, without passwords. Those for Node always verify the server. */
  strings(identifier: string, query?: { format?: "psql" | "node" | "prisma" | "drizzle" | "django" | "sqlalchemy" | "asyncpg" | "jdbc" | "go" | "pgadmin"; verify_full?: boolean; ca_file?: string }): Promise<Strings>;
  /**
   * Return current size, sessions and counters, and what an instance takes of the machine.
   *
   * Size and sessions include the shadow's, and those of all databases of an instance.
   */
  stats(identifier: string): Promise<DatabaseStats>;
  /** Set a new password, shown only in this answer. Open sessions, also pooled ones, go on. */
  rotatePassword(identifier: string, options?: PostOptions): Promise<OpenedDatabase>;
}

export interface ExtensionsOperations {
  /** List the server's extensions, and which of them the database has. */
  list(identifier: string): Promise<Array<Extension>>;
  /**
   * Install an extension, and those that it requires, in one of the database's schemas.
   *
   * One that ``preloads`` is only for an instance. If its server has not loaded the library yet, the
   * extension is created by the operation that restarts it: with ``restart`` that begins now.
   */
  add(identifier: string, body: AddExtension, options?: PostOptions): Promise<ChangedExtension>;
  /**
   * Remove an extension that no object depends on.
   *
   * The server of an instance has its library loaded until it is restarted: with ``restart`` now.
   */
  remove(identifier: string, name: string, query?: { restart?: boolean }): Promise<ChangedExtension>;
}

export interface ImportsOperations {
  /**
   * Copy a database from elsewhere, or an uploaded dump of one, into an empty database.
   *
   * The owner role will own all of it. Connection strings are not stored: an import that is
   * interrupted by a restart is undone and has to be requested again.
   */
  begin(identifier: string, body: ImportDatabase | Blob | Uint8Array, query?: { jobs?: number; statement_timeout_seconds?: number; map_role?: Array<string>; accept_losses?: boolean }, options?: PostOptions): Promise<Operation>;
  /**
   * Preview what an import from elsewhere or of a dump would bring, without importing it.
   *
   * A dump is retained for an hour and can be imported by its `upload_id` without sending it again.
   */
  preview(identifier: string, body: PreviewImport | Blob | Uint8Array, options?: PostOptions): Promise<Preview>;
}

export interface InsightsOperations {
  /** List the open sessions of the database and its shadow, those in a transaction first. */
  sessions(identifier: string): Promise<Array<InsightsSession>>;
  /** List the sessions that wait for a lock and those that they wait for, as a tree. */
  locks(identifier: string): Promise<Array<Waiting>>;
  /** List the tables of the database with their indexes, the largest first; at most 1,000. */
  tables(identifier: string): Promise<Array<InsightsTable>>;
  /** Cancel the statement that a session runs; the session stays open. */
  cancel(identifier: string, pid: string, body?: SignalSession, options?: PostOptions): Promise<SignalledSession>;
  /** End a session; its transaction is rolled back. */
  terminate(identifier: string, pid: string, body?: SignalSession, options?: PostOptions): Promise<SignalledSession>;
}

export interface InstancesOperations {
  /** List the major versions of PostgreSQL that instances can have here, the oldest first. */
  versions(): Promise<Array<InstancesVersion>>;
  /** Start a database's instance; one that runs goes on. */
  start(identifier: string, options?: PostOptions): Promise<Operation>;
  /**
   * Stop a database's instance: all its sessions end, and nobody can connect until its start.
   *
   * Its data and backups stay. It takes no memory, and is not started by a start of the platform.
   */
  stop(identifier: string, options?: PostOptions): Promise<Operation>;
  /** Stop a database's instance, ending all its sessions, and start it again. */
  restart(identifier: string, options?: PostOptions): Promise<Operation>;
  /** List the parameters of PostgreSQL that can be set for a database's instance, which runs. */
  settings(identifier: string): Promise<InstanceSettings>;
  /**
   * Set parameters of PostgreSQL for a database's instance; null is the default again.
   *
   * What needs no restart is in force when this answers, the rest once the instance has been
   * restarted, or started, by an operation. With ``restart`` that operation begins now, if anything
   * waits for it. If the server does not start with the new values, it goes on with the former ones
   * and the operation fails with the reason.
   */
  changeSettings(identifier: string, body: SetParameters): Promise<InstanceSettings>;
}

export interface KeysOperations {
  /** Create an API key. It is shown only in this answer. */
  create(body: CreateKey, options?: PostOptions): Promise<NewApiKey>;
  /** List API keys, newest first, without their secrets. */
  list(query?: { limit?: number }): AsyncGenerator<ApiKey>;
  /** Revoke an API key, and those created with it, permanently; effective on the next request. */
  revoke(identifier: string): Promise<ApiKey>;
}

export interface LogsOperations {
  /** List what was logged of the database, newest first, without secrets; see its log settings. */
  list(identifier: string, query?: { kind?: "statement" | "duration" | "error" | "notice"; since?: string; until?: string; after?: string; limit?: number }): AsyncGenerator<LogEntry>;
  /** Return the log settings of the database. */
  settings(identifier: string): Promise<Log>;
  /**
   * Replace the log settings of the database; an omitted setting is turned off.
   *
   * They apply to new sessions, and to pooled clients once the pool is renewed.
   */
  change(identifier: string, body: SetLog): Promise<Log>;
}

export interface MaintenanceOperations {
  /** Estimate what rewriting each table would give back, largest first; at most 1,000 tables. */
  estimate(identifier: string): Promise<Array<VacuumingTable>>;
  /**
   * Rewrite tables to give back the space of deleted rows. Each is locked while it is rewritten.
   *
   * The result has ``tables`` with their sizes ``before_bytes`` and ``after_bytes``, the total
   * ``returned_bytes``, and what was ``skipped`` with the ``reason``.
   */
  rewrite(identifier: string, body: VacuumFull, options?: PostOptions): Promise<Operation>;
  /**
   * Make the space of deleted rows available to new ones. Tables can be used meanwhile.
   *
   * The result has ``tables`` with their sizes ``before_bytes`` and ``after_bytes``, and what was
   * ``skipped`` with the ``reason``.
   */
  vacuum(identifier: string, body: Vacuum, options?: PostOptions): Promise<Operation>;
  /**
   * Collect the planner's statistics of tables again.
   *
   * The result has ``tables``, and what was ``skipped`` with the ``reason``.
   */
  analyze(identifier: string, body: Analyze, options?: PostOptions): Promise<Operation>;
  /**
   * Rebuild indexes, while their tables are used (REINDEX CONCURRENTLY).
   *
   * The result has ``indexes`` with their sizes ``before_bytes`` and ``after_bytes``, the total
   * ``returned_bytes``, and what was ``skipped`` with the ``reason``.
   */
  reindex(identifier: string, body: Reindex, options?: PostOptions): Promise<Operation>;
  /**
   * Create an index, while its table is used (CREATE INDEX CONCURRENTLY).
   *
   * The result has ``index``, as ``schema.name``, and ``size_bytes``. If it fails or is cancelled,
   * no invalid index is left.
   */
  createIndex(identifier: string, body: CreateIndex, options?: PostOptions): Promise<Operation>;
}

export interface MarksOperations {
  /**
   * Mark a moment, so that it is found on the timeline: for scripts that deploy something.
   *
   * A database has its newest 1,000 marks.
   */
  create(identifier: string, body: CreateMark, options?: PostOptions): Promise<Mark>;
  /** List the marks, newest first. */
  marks(identifier: string): Promise<Array<Mark>>;
  /** Delete a mark. */
  remove(identifier: string, mark_id: string): Promise<Mark>;
  /** List marks, migrations, backups, restores and the like, newest first, at most 500. */
  timeline(identifier: string, query?: { since?: string }): Promise<Array<Event>>;
}

export interface MetricsOperations {
  /** Return what the database had and did: a series for each figure, ready to be drawn. */
  metrics(identifier: string, query?: { from?: string; to?: string; step?: number }): Promise<Metrics>;
  /** Return short series of several databases at once. Unknown ids are left out. */
  sparklines(query: { ids: Array<string>; period?: "hour" | "day" | "week" }): Promise<Array<Sparklines>>;
  /**
   * Return what databases do at present, by the newest sample of each.
   *
   * Unknown ids, and databases that were not sampled in the last ten minutes, are left out.
   */
  latest(query?: { ids?: Array<string>; sort?: "transactions" | "connections" | "waiting" | "hits" | "cpu" | "temporary" | "wal" | "longest" | "size"; limit?: number }): Promise<Array<Latest>>;
}

export interface MigrationsOperations {
  /** Return a database's migration version and its applied files. */
  show(identifier: string): Promise<Migrations>;
  /** Run migration files with the rights of the owner role. The result lists the steps. */
  run(identifier: string, body: MigrateDatabase | Blob | Uint8Array, options?: PostOptions): Promise<Operation>;
  /**
   * Migrate many databases to the last of these files, a few first as a canary.
   *
   * With `dry_run`, it is answered which databases these would be.
   */
  runMany(body: MigrateMany | Blob | Uint8Array, options?: PostOptions): Promise<Operation>;
  /** List the results of a run over many databases, for each database, by operation id. */
  report(identifier: string, query?: { status?: "pending" | "running" | "succeeded" | "failed" | "skipped"; limit?: number }): AsyncGenerator<Target>;
}

export interface MovesOperations {
  /**
   * Move a database to an instance of its own, to a shared cluster, or to another one.
   *
   * It is copied by dump and load. Meanwhile pooled clients wait, and direct sessions are ended; if
   * that takes longer than `max_wait_seconds`, the move is undone. The id, the names, the logins and
   * the pooled connection strings stay. The original is retained for a while.
   *
   * With `dry_run`, it is answered what the move would do, and how long clients would wait.
   */
  move(identifier: string, body: MoveDatabase, options?: PostOptions): Promise<Operation>;
}

export interface OperationsOperations {
  /** List operations, newest first. */
  list(query?: { kind?: string; status?: "queued" | "running" | "succeeded" | "failed" | "cancelled"; resource_id?: string; limit?: number }): AsyncGenerator<Operation>;
  /** Return an operation's progress: step, bytes, rate and remaining time. */
  show(identifier: string): Promise<Operation>;
  /** Cancel an operation and undo its completed steps. One past its point of no return goes on. */
  cancel(identifier: string, options?: PostOptions): Promise<Operation>;
  /**
   * End an operation immediately, without undoing its steps.
   *
   * This is the last resort for an operation that neither ends nor can be cancelled: its database
   * can be used, restored or deleted again.
   */
  abandon(identifier: string, options?: PostOptions): Promise<Operation>;
}

export interface PastOperations {
  /**
   * Make the database readable as it was, beside it; nothing of it changes.
   *
   * Another one that can be read is ended.
   */
  begin(identifier: string, body: LookBack, options?: PostOptions): Promise<Operation>;
  /** List what is being made, or can be read. */
  sessions(identifier: string): Promise<Array<Past>>;
  /** End it before it expires. */
  end(identifier: string, past_id: string): Promise<Past>;
  /** Count the rows of each table then and now. */
  tables(identifier: string, past_id: string): Promise<Array<TableRows>>;
  /** Run statements in the database as it was, read-only, with the rights of its owner role. */
  sql(identifier: string, past_id: string, body: RunSql): Promise<Run>;
  /** Compare a table with what it was, by its primary key. The newest 20 comparisons are kept. */
  compare(identifier: string, past_id: string, body: CompareTable): Promise<PastComparison>;
  /** Return what a comparison has found. */
  comparison(identifier: string, past_id: string, comparison_id: string): Promise<PastComparison>;
  /** Show a page of the rows that differ, with their values then and now. */
  rows(identifier: string, past_id: string, comparison_id: string, query?: { kind?: "deleted" | "changed" | "added"; after?: number; limit?: number }): Promise<Differences>;
  /**
   * Bring deleted and changed rows back, in one transaction, with the rights of the owner role.
   *
   * It takes `databases:write`, too. Rows that are not what was compared any more are left as they
   * are; nothing is deleted.
   */
  bringBack(identifier: string, past_id: string, comparison_id: string, body: BringBack): Promise<BroughtBack>;
}

export interface PlansOperations {
  /** List the pricing plans, the smallest first. */
  list(): Promise<Array<Plan>>;
  /** Change the sizes of a plan, for what its customers create or enlarge from now on. */
  update(name: string, body: UpdatePlan): Promise<Plan>;
}

export interface PlatformOperations {
  /** Report that the API runs, without checking other parts. */
  live(): Promise<Record<string, string>>;
  /**
   * Report whether every part answers, and how fast.
   *
   * ``detail`` names databases, files and versions: callers from other machines need a key with the
   * scope platform:read; otherwise it is null.
   */
  ready(): Promise<unknown>;
  /** Return the certificate authority's certificate, for sslmode=verify-full. */
  authority(): Promise<Uint8Array>;
  /** Return metrics for Prometheus. Callers from other machines need an API key. */
  measures(): Promise<string>;
  /** Return the pooler's pools, clients, servers and counters, and its connection budget. */
  pooler(): Promise<PoolerState>;
}

export interface PrometheusOperations {
  /** Return metrics of the database for Prometheus, as of its newest sample. */
  measures(identifier: string): Promise<string>;
}

export interface ProofsOperations {
  /** Restore the database into a sandbox and compare it; the operation fails on any difference. */
  drill(identifier: string, options?: PostOptions): Promise<Operation>;
  /** List the results of the database's drills, newest first. */
  proofs(identifier: string, query?: { limit?: number }): AsyncGenerator<ProofOutput>;
}

export interface QueriesOperations {
  /**
   * List the statements of the database and its shadow, those first with most of ``sort``.
   *
   * Each is compared with an hour, a day and a week before.
   */
  queries(identifier: string, query?: { sort?: "total_ms" | "mean_ms" | "max_ms" | "calls" | "rows" | "blocks_read" | "temp_bytes" | "wal_bytes"; search?: string; since?: string; own?: boolean; limit?: number }): Promise<QueryListing>;
  /** Count the statements of the database again. */
  reset(identifier: string, options?: PostOptions): Promise<Reset>;
  /** Show the plan of a statement, with the rights of the owner role; nothing of it lasts. */
  explain(identifier: string, body: Explain): Promise<Explained>;
}

export interface RestoresOperations {
  /**
   * Restore a database to a past state, beside it or in place. Other databases are unaffected.
   *
   * In place, clients of the pooler wait for a moment, direct sessions are ended, and the replaced
   * contents are retained for a while.
   *
   * With `tables`, for which it takes `data:write`, too, only these are brought back, within the
   * database: copies in a new schema, or the rows that were deleted since.
   */
  restore(identifier: string, body: Restore, options?: PostOptions): Promise<Operation>;
  /** List the retained databases that were replaced, or are left by moves, newest first. */
  replaced(identifier: string): Promise<Array<Replaced>>;
}

export interface RolesOperations {
  /** List the database's additional roles, oldest first. */
  list(identifier: string): Promise<Array<Role>>;
  /**
   * Create a role that can read, or read and write, all present and future tables.
   *
   * Its password is shown only in this answer.
   */
  create(identifier: string, body: CreateRole, options?: PostOptions): Promise<OpenedRole>;
  /** Return one additional role with its connection strings, without the password. */
  show(identifier: string, role_id: string): Promise<Role>;
  /** Change the connection limit of a role; open sessions go on. */
  update(identifier: string, role_id: string, body: UpdateRole): Promise<Role>;
  /** Delete a role and end its sessions. What it owns passes to the owner role. */
  delete(identifier: string, role_id: string): Promise<DeletedRole>;
  /** Set a new password, shown only in this answer. Open sessions, also pooled ones, go on. */
  rotatePassword(identifier: string, role_id: string, options?: PostOptions): Promise<OpenedRole>;
}

export interface RowsOperations {
  /**
   * Insert, update and delete rows of one table, each by its primary key, as one transaction.
   *
   * It takes `data:write`, too. If one of them is not there, or has another `xmin`, nothing is
   * changed: 409 `row_changed`.
   */
  change(identifier: string, body: ChangeRows, options?: PostOptions): Promise<Changed>;
  /**
   * Return all rows of a table or view as CSV, with the names of the columns in the first line.
   *
   * NULL is an empty field, and an empty text is `""`. It may take ten minutes.
   */
  export(identifier: string, query: { schema?: string; table: string; column?: string; test?: "is" | "is_not" | "less" | "greater" | "contains" | "empty" | "filled"; value?: string; sort?: string; order?: "asc" | "desc" }): Promise<Uint8Array>;
  /**
   * Insert the rows of a CSV file, as one transaction. It takes `data:write`, too.
   *
   * The first line names the columns that the file has; others get their defaults. An error names
   * the line. Under an `Idempotency-Key` they are inserted at most once, and a repeated request
   * returns 409, whatever the file.
   */
  load(identifier: string, body: Blob | Uint8Array, query: { schema?: string; table: string }): Promise<Loaded>;
}

export interface SiteBackupsOperations {
  /** List the backups of a site, newest first, also those that a deleted one has left. */
  list(identifier: string, query?: { limit?: number }): AsyncGenerator<SiteBackup>;
  /** Back up a site that keeps its data, while it serves. The result has the backup's id. */
  create(identifier: string, options?: PostOptions): Promise<Operation>;
  /** Delete a backup. Its files are gone from the repositories within minutes. */
  delete(identifier: string, backup_id: string): Promise<DeletedSiteBackup>;
  /**
   * Put the data of a backup in service, in place of the present ones, which are lost.
   *
   * Its Redis is started again for that. If the restore fails, it has what it had before.
   */
  restore(identifier: string, body: RestoreSite, options?: PostOptions): Promise<Operation>;
}

export interface SiteJudgementsOperations {
  /** Return some of the hits that nobody has judged, drawn by lot. */
  hits(identifier: string, query?: { limit?: number }): Promise<Array<Hit>>;
  /** Note whether the stored answer was right for what was asked. */
  judge(identifier: string, hit_id: string, body: JudgeHit, options?: PostOptions): Promise<Judged>;
  /** Put the loosest threshold in force that the judged hits certify for the budget. */
  certify(identifier: string, body: CertifyThreshold, options?: PostOptions): Promise<Certificate>;
  /** Return the threshold in force, and what was measured there. */
  threshold(identifier: string): Promise<Threshold>;
}

export interface SiteProxiesOperations {
  /** Return how a site's proxy is configured, without its keys. */
  show(identifier: string): Promise<SiteProxy>;
  /** Change settings of a site's proxy: its providers, their keys, and limits. */
  update(identifier: string, body: UpdateSiteProxy): Promise<SiteProxy>;
}

export interface SiteWhitelistOperations {
  /** List the addresses that may reach the site; an empty list allows all addresses. */
  list(identifier: string): Promise<WhitelistListing>;
  /**
   * Allow an address or a range. The first entry closes the site to all other addresses.
   *
   * Programs on the platform's machine are always allowed. Connections from other addresses are
   * ended. A site in the shared Redis cannot have an allowlist.
   */
  add(identifier: string, body: WhitelistEntryInput, options?: PostOptions): Promise<AddedEntry>;
  /** Replace the whole allowlist; an empty one allows all addresses. */
  replace(identifier: string, body: Whitelist): Promise<Array<WhitelistEntryOutput>>;
  /** Show what replacing the allowlist would change, and which connections would end. */
  preview(identifier: string, body: PreviewWhitelist, options?: PostOptions): Promise<WhitelistPreview>;
  /** Remove an address and end its connections. Removing the last entry allows all addresses. */
  remove(identifier: string, whitelist_id: string): Promise<RemovedEntry>;
}

export interface SitesOperations {
  /** List sites, the oldest first. */
  list(): Promise<Array<Site>>;
  /** Create a site. Its connection string and its API key are shown only in this answer. */
  create(body: CreateSite, options?: PostOptions): Promise<NewSite>;
  /** Return one site, without its secrets. */
  show(identifier: string): Promise<Site>;
  /** Change a site. Its Redis goes on, and its keys stay, unless less memory has no room. */
  update(identifier: string, body: UpdateSite): Promise<Site>;
  /** Delete a site with all its keys. */
  delete(identifier: string): Promise<GoneSite>;
  /** Replace the secrets of a site: the former ones end at once, and connections with them. */
  rotate(identifier: string, body: RotateSite, options?: PostOptions): Promise<NewSite>;
  /** Delete all keys of a site. */
  flush(identifier: string, options?: PostOptions): Promise<Site>;
  /** Return what a site's Redis reports of its memory, keys, clients and hits. */
  stats(identifier: string): Promise<SiteStats>;
  /** List about so many keys, in no order. A page may be empty although more follow. */
  keys(identifier: string, query?: { match?: string; limit?: number }): AsyncGenerator<SiteKey>;
}

export interface SqlOperations {
  /**
   * Run statements with the rights of the owner role, as one transaction.
   *
   * A client that closes the connection cancels them. To change something takes `data:write`, too;
   * under an `Idempotency-Key` that happens at most once, and a repeated request returns 409.
   */
  run(identifier: string, body: RunSql): Promise<Run>;
  /** Return the names of tables, columns and functions, but for the system's. */
  names(identifier: string): Promise<Names>;
  /** List the caller's own texts for a database: saved ones by name, then the last 50 that ran. */
  texts(identifier: string): Promise<Array<SqlText>>;
  /** Save a text by a name, in place of one that has it; at most 100 for a database. */
  save(identifier: string, body: SaveSql): Promise<Array<SqlText>>;
  /** Delete one of the caller's texts; return the others. */
  forget(identifier: string, text_id: string): Promise<Array<SqlText>>;
}

export interface UsersOperations {
  /** Create a user. A generated password is shown only in this answer. */
  create(body: CreateUser, options?: PostOptions): Promise<NewUser>;
  /** List users, newest first. */
  list(query?: { limit?: number }): AsyncGenerator<User>;
  /** Return one user. */
  show(identifier: string): Promise<User>;
  /** Rename a user, or disable one: their sessions end and their keys stop working. */
  update(identifier: string, body: UpdateUser): Promise<User>;
  /** Delete a user with their sessions and the keys that they created. Audit entries remain. */
  delete(identifier: string): Promise<User>;
  /** Reset the failed logins of an account. */
  unlock(identifier: string, options?: PostOptions): Promise<User>;
  /** Set a new password for a user, shown only in this answer, and end their sessions. */
  resetPassword(identifier: string, options?: PostOptions): Promise<NewUser>;
  /** Remove the authenticator of a user who has lost it, and end their sessions. */
  removeTotp(identifier: string, options?: PostOptions): Promise<User>;
}

export interface WhitelistOperations {
  /** List the addresses that may reach the database; an empty list allows all addresses. */
  list(identifier: string): Promise<WhitelistListing>;
  /**
   * Allow an address or a range. The first entry closes the database to all other addresses.
   *
   * It is in force for direct and pooled connections when this answers, and sessions from other
   * addresses are ended.
   */
  add(identifier: string, body: WhitelistEntryInput, options?: PostOptions): Promise<AddedEntry>;
  /** Replace the whole allowlist; an empty one allows all addresses. */
  replace(identifier: string, body: Whitelist): Promise<Array<WhitelistEntryOutput>>;
  /** Show what replacing the allowlist would change, and which sessions would end. */
  preview(identifier: string, body: PreviewWhitelist, options?: PostOptions): Promise<WhitelistPreview>;
  /** Remove an address and end its sessions. Removing the last entry allows all addresses. */
  remove(identifier: string, whitelist_id: string): Promise<RemovedEntry>;
}

export class Api {
  readonly advice: AdviceOperations;
  readonly alerts: AlertsOperations;
  readonly audit: AuditOperations;
  readonly auth: AuthOperations;
  readonly backupSchedules: BackupSchedulesOperations;
  readonly backups: BackupsOperations;
  readonly blueprints: BlueprintsOperations;
  readonly branches: BranchesOperations;
  readonly cacheUsage: CacheUsageOperations;
  readonly clusters: ClustersOperations;
  readonly customers: CustomersOperations;
  readonly dataApi: DataApiOperations;
  readonly databases: DatabasesOperations;
  readonly extensions: ExtensionsOperations;
  readonly imports: ImportsOperations;
  readonly insights: InsightsOperations;
  readonly instances: InstancesOperations;
  readonly keys: KeysOperations;
  readonly logs: LogsOperations;
  readonly maintenance: MaintenanceOperations;
  readonly marks: MarksOperations;
  readonly metrics: MetricsOperations;
  readonly migrations: MigrationsOperations;
  readonly moves: MovesOperations;
  readonly operations: OperationsOperations;
  readonly past: PastOperations;
  readonly plans: PlansOperations;
  readonly platform: PlatformOperations;
  readonly prometheus: PrometheusOperations;
  readonly proofs: ProofsOperations;
  readonly queries: QueriesOperations;
  readonly restores: RestoresOperations;
  readonly roles: RolesOperations;
  readonly rows: RowsOperations;
  readonly siteBackups: SiteBackupsOperations;
  readonly siteJudgements: SiteJudgementsOperations;
  readonly siteProxies: SiteProxiesOperations;
  readonly siteWhitelist: SiteWhitelistOperations;
  readonly sites: SitesOperations;
  readonly sql: SqlOperations;
  readonly users: UsersOperations;
  readonly whitelist: WhitelistOperations;
}
