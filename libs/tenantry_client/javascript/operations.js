/** The operations of the API; see operations.d.ts. Generated from the OpenAPI document by generator/generate.py: do not edit. */

const segment = (value) => {
  const text = String(value);
  if (["", ".", ".."].includes(text)) throw new TypeError(`"${text}" is no identifier`);
  return encodeURIComponent(text);
};

class Advice {
  #send;
  constructor(send) {
    this.#send = send;
  }

  advice(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/advice`, kind: "data", query, repeatable: true });
  }

  mute(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/advice/mutes`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  unmute(identifier, query = {}) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/advice/mutes`, kind: "data", query });
  }
}

class Alerts {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(query = {}) {
    return this.#send({ method: "GET", path: `/api/alerts`, kind: "pages", query, repeatable: true });
  }

  acknowledge(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/alerts/${segment(identifier)}/acknowledge`, kind: "data", idempotencyKey, repeatable: true });
  }

  mute(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/alerts/${segment(identifier)}/mute`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  resolve(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/alerts/${segment(identifier)}/resolve`, kind: "data", idempotencyKey, repeatable: true });
  }

  channels() {
    return this.#send({ method: "GET", path: `/api/alerts/channels`, kind: "data", repeatable: true });
  }

  createChannel(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/alerts/channels`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  deleteChannel(identifier) {
    return this.#send({ method: "DELETE", path: `/api/alerts/channels/${segment(identifier)}`, kind: "data" });
  }

  testChannel(identifier) {
    return this.#send({ method: "POST", path: `/api/alerts/channels/${segment(identifier)}/test`, kind: "data" });
  }

  settings(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/alerts/settings`, kind: "data", repeatable: true });
  }

  changeSettings(identifier, body) {
    return this.#send({ method: "PUT", path: `/api/databases/${segment(identifier)}/alerts/settings`, kind: "data", body, repeatable: true });
  }
}

class Audit {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(query = {}) {
    return this.#send({ method: "GET", path: `/api/audit-logs`, kind: "pages", query, repeatable: true });
  }

  export(query = {}) {
    return this.#send({ method: "GET", path: `/api/audit-logs/export`, kind: "bytes", query, repeatable: true });
  }
}

class Auth {
  #send;
  constructor(send) {
    this.#send = send;
  }

  login(body) {
    return this.#send({ method: "POST", path: `/api/auth/login`, kind: "data", body });
  }

  mfa(body) {
    return this.#send({ method: "POST", path: `/api/auth/mfa`, kind: "data", body });
  }

  logout() {
    return this.#send({ method: "POST", path: `/api/auth/logout`, kind: "data" });
  }

  me() {
    return this.#send({ method: "GET", path: `/api/auth/me`, kind: "data", repeatable: true });
  }

  sessions(query = {}) {
    return this.#send({ method: "GET", path: `/api/auth/sessions`, kind: "pages", query, repeatable: true });
  }

  revokeSession(identifier) {
    return this.#send({ method: "DELETE", path: `/api/auth/sessions/${segment(identifier)}`, kind: "data" });
  }

  changePassword(body) {
    return this.#send({ method: "POST", path: `/api/auth/password`, kind: "data", body });
  }

  beginTotp(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/auth/totp`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  confirmTotp(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/auth/totp/confirm`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  removeTotp(body) {
    return this.#send({ method: "POST", path: `/api/auth/totp/remove`, kind: "data", body });
  }

  recoveryCodes(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/auth/recovery-codes`, kind: "data", body, idempotencyKey, repeatable: true });
  }
}

class BackupSchedules {
  #send;
  constructor(send) {
    this.#send = send;
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/backups/schedule`, kind: "data", repeatable: true });
  }

  setOwn(identifier, body) {
    return this.#send({ method: "PUT", path: `/api/databases/${segment(identifier)}/backups/schedule`, kind: "data", body, repeatable: true });
  }

  removeOwn(identifier) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/backups/schedule`, kind: "data" });
  }

  defaults() {
    return this.#send({ method: "GET", path: `/api/backup-defaults`, kind: "data", repeatable: true });
  }

  setDefault(environment, body) {
    return this.#send({ method: "PUT", path: `/api/backup-defaults/${segment(environment)}`, kind: "data", body, repeatable: true });
  }
}

class Backups {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/backups`, kind: "pages", query, repeatable: true });
  }

  create(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/backups`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  show(identifier, backup_id) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/backups/${segment(backup_id)}`, kind: "data", repeatable: true });
  }

  delete(identifier, backup_id) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/backups/${segment(backup_id)}`, kind: "data" });
  }

  download(identifier, backup_id) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/backups/${segment(backup_id)}/download`, kind: "bytes", repeatable: true });
  }

  verify(identifier, backup_id, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/backups/${segment(backup_id)}/verify`, kind: "data", idempotencyKey, repeatable: true });
  }
}

class Blueprints {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list() {
    return this.#send({ method: "GET", path: `/api/blueprints`, kind: "data", repeatable: true });
  }

  show(name) {
    return this.#send({ method: "GET", path: `/api/blueprints/${segment(name)}`, kind: "data", repeatable: true });
  }

  standing(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/blueprint`, kind: "data", repeatable: true });
  }

  apply(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/blueprint`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  compare(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/blueprint/diff`, kind: "data", repeatable: true });
  }
}

class Branches {
  #send;
  constructor(send) {
    this.#send = send;
  }

  create(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/branches`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  list(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/branches`, kind: "pages", query, repeatable: true });
  }

  compare(identifier, branch_id) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/branches/${segment(branch_id)}/diff`, kind: "data", repeatable: true });
  }

  reset(identifier, branch_id, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/branches/${segment(branch_id)}/reset`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  promote(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/promote`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  masking(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/masking`, kind: "data", repeatable: true });
  }

  setMasking(identifier, body) {
    return this.#send({ method: "PUT", path: `/api/databases/${segment(identifier)}/masking`, kind: "data", body, repeatable: true });
  }
}

class CacheUsage {
  #send;
  constructor(send) {
    this.#send = send;
  }

  analytics(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/analytics`, kind: "data", query, repeatable: true });
  }

  report(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/report`, kind: "data", query, repeatable: true });
  }

  prices() {
    return this.#send({ method: "GET", path: `/api/cache-prices`, kind: "data", repeatable: true });
  }

  replacePrices(body) {
    return this.#send({ method: "PUT", path: `/api/cache-prices`, kind: "data", body, repeatable: true });
  }
}

class Clusters {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list() {
    return this.#send({ method: "GET", path: `/api/clusters`, kind: "data", repeatable: true });
  }

  add(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/clusters`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  backups(identifier) {
    return this.#send({ method: "GET", path: `/api/clusters/${segment(identifier)}/backups`, kind: "data", repeatable: true });
  }

  backUp(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/clusters/${segment(identifier)}/backups`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  verify(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/clusters/${segment(identifier)}/backups/verify`, kind: "data", idempotencyKey, repeatable: true });
  }

  restore(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/clusters/${segment(identifier)}/restore`, kind: "data", body, idempotencyKey, repeatable: true });
  }
}

class Customers {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(query = {}) {
    return this.#send({ method: "GET", path: `/api/customers`, kind: "pages", query, repeatable: true });
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/customers/${segment(identifier)}`, kind: "data", repeatable: true });
  }

  update(identifier, body) {
    return this.#send({ method: "PATCH", path: `/api/customers/${segment(identifier)}`, kind: "data", body });
  }

  remove(identifier) {
    return this.#send({ method: "DELETE", path: `/api/customers/${segment(identifier)}`, kind: "data" });
  }
}

class DataApi {
  #send;
  constructor(send) {
    this.#send = send;
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/data-api`, kind: "data", repeatable: true });
  }

  put(identifier, body) {
    return this.#send({ method: "PUT", path: `/api/databases/${segment(identifier)}/data-api`, kind: "data", body, repeatable: true });
  }

  disable(identifier) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/data-api`, kind: "data" });
  }

  rotate(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/data-api/rotate`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  issueToken(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/data-api/tokens`, kind: "data", body, idempotencyKey, repeatable: true });
  }
}

class Databases {
  #send;
  constructor(send) {
    this.#send = send;
  }

  create(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  list(query = {}) {
    return this.#send({ method: "GET", path: `/api/databases`, kind: "pages", query, repeatable: true });
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}`, kind: "data", repeatable: true });
  }

  update(identifier, body) {
    return this.#send({ method: "PATCH", path: `/api/databases/${segment(identifier)}`, kind: "data", body });
  }

  delete(identifier, query = {}) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}`, kind: "data", query });
  }

  reconnectPool(identifier, query = {}, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/pool/reconnect`, kind: "data", query, idempotencyKey, repeatable: true });
  }

  strings(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/connection-strings`, kind: "data", query, repeatable: true });
  }

  stats(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/stats`, kind: "data", repeatable: true });
  }

  rotatePassword(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/rotate-password`, kind: "data", idempotencyKey, repeatable: true });
  }
}

class Extensions {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/extensions`, kind: "data", repeatable: true });
  }

  add(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/extensions`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  remove(identifier, name, query = {}) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/extensions/${segment(name)}`, kind: "data", query });
  }
}

class Imports {
  #send;
  constructor(send) {
    this.#send = send;
  }

  begin(identifier, body, query = {}, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/import`, kind: "data", body, mediaType: "application/octet-stream", query, idempotencyKey, repeatable: true });
  }

  preview(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/import/preview`, kind: "data", body, mediaType: "application/octet-stream", idempotencyKey, repeatable: true });
  }
}

class Insights {
  #send;
  constructor(send) {
    this.#send = send;
  }

  sessions(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/sessions`, kind: "data", repeatable: true });
  }

  locks(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/locks`, kind: "data", repeatable: true });
  }

  tables(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/tables`, kind: "data", repeatable: true });
  }

  cancel(identifier, pid, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/sessions/${segment(pid)}/cancel`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  terminate(identifier, pid, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/sessions/${segment(pid)}/terminate`, kind: "data", body, idempotencyKey, repeatable: true });
  }
}

class Instances {
  #send;
  constructor(send) {
    this.#send = send;
  }

  versions() {
    return this.#send({ method: "GET", path: `/api/versions`, kind: "data", repeatable: true });
  }

  start(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/start`, kind: "data", idempotencyKey, repeatable: true });
  }

  stop(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/stop`, kind: "data", idempotencyKey, repeatable: true });
  }

  restart(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/restart`, kind: "data", idempotencyKey, repeatable: true });
  }

  settings(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/settings`, kind: "data", repeatable: true });
  }

  changeSettings(identifier, body) {
    return this.#send({ method: "PATCH", path: `/api/databases/${segment(identifier)}/settings`, kind: "data", body });
  }
}

class Keys {
  #send;
  constructor(send) {
    this.#send = send;
  }

  create(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/api-keys`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  list(query = {}) {
    return this.#send({ method: "GET", path: `/api/api-keys`, kind: "pages", query, repeatable: true });
  }

  revoke(identifier) {
    return this.#send({ method: "DELETE", path: `/api/api-keys/${segment(identifier)}`, kind: "data" });
  }
}

class Logs {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/logs`, kind: "pages", query, repeatable: true });
  }

  settings(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/logs/settings`, kind: "data", repeatable: true });
  }

  change(identifier, body) {
    return this.#send({ method: "PUT", path: `/api/databases/${segment(identifier)}/logs/settings`, kind: "data", body, repeatable: true });
  }
}

class Maintenance {
  #send;
  constructor(send) {
    this.#send = send;
  }

  estimate(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/vacuum-full`, kind: "data", repeatable: true });
  }

  rewrite(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/vacuum-full`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  vacuum(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/vacuum`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  analyze(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/analyze`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  reindex(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/reindex`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  createIndex(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/indexes`, kind: "data", body, idempotencyKey, repeatable: true });
  }
}

class Marks {
  #send;
  constructor(send) {
    this.#send = send;
  }

  create(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/marks`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  marks(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/marks`, kind: "data", repeatable: true });
  }

  remove(identifier, mark_id) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/marks/${segment(mark_id)}`, kind: "data" });
  }

  timeline(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/timeline`, kind: "data", query, repeatable: true });
  }
}

class Metrics {
  #send;
  constructor(send) {
    this.#send = send;
  }

  metrics(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/metrics`, kind: "data", query, repeatable: true });
  }

  sparklines(query = {}) {
    return this.#send({ method: "GET", path: `/api/metrics/sparklines`, kind: "data", query, repeatable: true });
  }

  latest(query = {}) {
    return this.#send({ method: "GET", path: `/api/metrics/latest`, kind: "data", query, repeatable: true });
  }
}

class Migrations {
  #send;
  constructor(send) {
    this.#send = send;
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/migrations`, kind: "data", repeatable: true });
  }

  run(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/migrations`, kind: "data", body, mediaType: "application/x-tar", idempotencyKey, repeatable: true });
  }

  runMany(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/migrations`, kind: "data", body, mediaType: "application/x-tar", idempotencyKey, repeatable: true });
  }

  report(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/migrations/${segment(identifier)}`, kind: "pages", query, repeatable: true });
  }
}

class Moves {
  #send;
  constructor(send) {
    this.#send = send;
  }

  move(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/move`, kind: "data", body, idempotencyKey, repeatable: true });
  }
}

class Operations {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(query = {}) {
    return this.#send({ method: "GET", path: `/api/operations`, kind: "pages", query, repeatable: true });
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/operations/${segment(identifier)}`, kind: "data", repeatable: true });
  }

  cancel(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/operations/${segment(identifier)}/cancel`, kind: "data", idempotencyKey, repeatable: true });
  }

  abandon(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/operations/${segment(identifier)}/abandon`, kind: "data", idempotencyKey, repeatable: true });
  }
}

class Past {
  #send;
  constructor(send) {
    this.#send = send;
  }

  begin(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/past`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  sessions(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/past`, kind: "data", repeatable: true });
  }

  end(identifier, past_id) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/past/${segment(past_id)}`, kind: "data" });
  }

  tables(identifier, past_id) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/past/${segment(past_id)}/tables`, kind: "data", repeatable: true });
  }

  sql(identifier, past_id, body) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/past/${segment(past_id)}/sql`, kind: "data", body });
  }

  compare(identifier, past_id, body) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/past/${segment(past_id)}/comparisons`, kind: "data", body });
  }

  comparison(identifier, past_id, comparison_id) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/past/${segment(past_id)}/comparisons/${segment(comparison_id)}`, kind: "data", repeatable: true });
  }

  rows(identifier, past_id, comparison_id, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/past/${segment(past_id)}/comparisons/${segment(comparison_id)}/rows`, kind: "data", query, repeatable: true });
  }

  bringBack(identifier, past_id, comparison_id, body) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/past/${segment(past_id)}/comparisons/${segment(comparison_id)}/bring-back`, kind: "data", body });
  }
}

class Plans {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list() {
    return this.#send({ method: "GET", path: `/api/plans`, kind: "data", repeatable: true });
  }

  update(name, body) {
    return this.#send({ method: "PATCH", path: `/api/plans/${segment(name)}`, kind: "data", body });
  }
}

class Platform {
  #send;
  constructor(send) {
    this.#send = send;
  }

  live() {
    return this.#send({ method: "GET", path: `/health`, kind: "whole", repeatable: true });
  }

  ready() {
    return this.#send({ method: "GET", path: `/ready`, kind: "whole", repeatable: true });
  }

  authority() {
    return this.#send({ method: "GET", path: `/ca.crt`, kind: "bytes", repeatable: true });
  }

  measures() {
    return this.#send({ method: "GET", path: `/metrics`, kind: "text", repeatable: true });
  }

  pooler() {
    return this.#send({ method: "GET", path: `/api/pooler`, kind: "data", repeatable: true });
  }
}

class Prometheus {
  #send;
  constructor(send) {
    this.#send = send;
  }

  measures(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/metrics/prometheus`, kind: "text", repeatable: true });
  }
}

class Proofs {
  #send;
  constructor(send) {
    this.#send = send;
  }

  drill(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/drill`, kind: "data", idempotencyKey, repeatable: true });
  }

  proofs(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/proofs`, kind: "pages", query, repeatable: true });
  }
}

class Queries {
  #send;
  constructor(send) {
    this.#send = send;
  }

  queries(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/queries`, kind: "whole", query, repeatable: true });
  }

  reset(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/queries/reset`, kind: "data", idempotencyKey, repeatable: true });
  }

  explain(identifier, body) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/explain`, kind: "data", body });
  }
}

class Restores {
  #send;
  constructor(send) {
    this.#send = send;
  }

  restore(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/restore`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  replaced(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/replaced`, kind: "data", repeatable: true });
  }
}

class Roles {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/roles`, kind: "data", repeatable: true });
  }

  create(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/roles`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  show(identifier, role_id) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/roles/${segment(role_id)}`, kind: "data", repeatable: true });
  }

  update(identifier, role_id, body) {
    return this.#send({ method: "PATCH", path: `/api/databases/${segment(identifier)}/roles/${segment(role_id)}`, kind: "data", body });
  }

  delete(identifier, role_id) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/roles/${segment(role_id)}`, kind: "data" });
  }

  rotatePassword(identifier, role_id, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/roles/${segment(role_id)}/rotate-password`, kind: "data", idempotencyKey, repeatable: true });
  }
}

class Rows {
  #send;
  constructor(send) {
    this.#send = send;
  }

  change(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/rows`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  export(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/rows/csv`, kind: "bytes", query, repeatable: true });
  }

  load(identifier, body, query = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/rows/csv`, kind: "data", body, mediaType: "text/csv", query });
  }
}

class SiteBackups {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/backups`, kind: "pages", query, repeatable: true });
  }

  create(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites/${segment(identifier)}/backups`, kind: "data", idempotencyKey, repeatable: true });
  }

  delete(identifier, backup_id) {
    return this.#send({ method: "DELETE", path: `/api/sites/${segment(identifier)}/backups/${segment(backup_id)}`, kind: "data" });
  }

  restore(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites/${segment(identifier)}/restore`, kind: "data", body, idempotencyKey, repeatable: true });
  }
}

class SiteJudgements {
  #send;
  constructor(send) {
    this.#send = send;
  }

  hits(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/hits`, kind: "data", query, repeatable: true });
  }

  judge(identifier, hit_id, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites/${segment(identifier)}/hits/${segment(hit_id)}/feedback`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  certify(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites/${segment(identifier)}/certify`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  threshold(identifier) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/semantic`, kind: "data", repeatable: true });
  }
}

class SiteProxies {
  #send;
  constructor(send) {
    this.#send = send;
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/proxy`, kind: "data", repeatable: true });
  }

  update(identifier, body) {
    return this.#send({ method: "PATCH", path: `/api/sites/${segment(identifier)}/proxy`, kind: "data", body });
  }
}

class SiteWhitelist {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(identifier) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/whitelist`, kind: "whole", repeatable: true });
  }

  add(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites/${segment(identifier)}/whitelist`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  replace(identifier, body) {
    return this.#send({ method: "PUT", path: `/api/sites/${segment(identifier)}/whitelist`, kind: "data", body, repeatable: true });
  }

  preview(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites/${segment(identifier)}/whitelist/preview`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  remove(identifier, whitelist_id) {
    return this.#send({ method: "DELETE", path: `/api/sites/${segment(identifier)}/whitelist/${segment(whitelist_id)}`, kind: "data" });
  }
}

class Sites {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list() {
    return this.#send({ method: "GET", path: `/api/sites`, kind: "data", repeatable: true });
  }

  create(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}`, kind: "data", repeatable: true });
  }

  update(identifier, body) {
    return this.#send({ method: "PATCH", path: `/api/sites/${segment(identifier)}`, kind: "data", body });
  }

  delete(identifier) {
    return this.#send({ method: "DELETE", path: `/api/sites/${segment(identifier)}`, kind: "data" });
  }

  rotate(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites/${segment(identifier)}/rotate`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  flush(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/sites/${segment(identifier)}/flush`, kind: "data", idempotencyKey, repeatable: true });
  }

  stats(identifier) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/stats`, kind: "data", repeatable: true });
  }

  keys(identifier, query = {}) {
    return this.#send({ method: "GET", path: `/api/sites/${segment(identifier)}/keys`, kind: "pages", query, repeatable: true });
  }
}

class Sql {
  #send;
  constructor(send) {
    this.#send = send;
  }

  run(identifier, body) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/sql`, kind: "data", body });
  }

  names(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/sql/names`, kind: "data", repeatable: true });
  }

  texts(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/sql/texts`, kind: "data", repeatable: true });
  }

  save(identifier, body) {
    return this.#send({ method: "PUT", path: `/api/databases/${segment(identifier)}/sql/texts`, kind: "data", body, repeatable: true });
  }

  forget(identifier, text_id) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/sql/texts/${segment(text_id)}`, kind: "data" });
  }
}

class Users {
  #send;
  constructor(send) {
    this.#send = send;
  }

  create(body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/users`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  list(query = {}) {
    return this.#send({ method: "GET", path: `/api/users`, kind: "pages", query, repeatable: true });
  }

  show(identifier) {
    return this.#send({ method: "GET", path: `/api/users/${segment(identifier)}`, kind: "data", repeatable: true });
  }

  update(identifier, body) {
    return this.#send({ method: "PATCH", path: `/api/users/${segment(identifier)}`, kind: "data", body });
  }

  delete(identifier) {
    return this.#send({ method: "DELETE", path: `/api/users/${segment(identifier)}`, kind: "data" });
  }

  unlock(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/users/${segment(identifier)}/unlock`, kind: "data", idempotencyKey, repeatable: true });
  }

  resetPassword(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/users/${segment(identifier)}/reset-password`, kind: "data", idempotencyKey, repeatable: true });
  }

  removeTotp(identifier, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/users/${segment(identifier)}/remove-totp`, kind: "data", idempotencyKey, repeatable: true });
  }
}

class Whitelist {
  #send;
  constructor(send) {
    this.#send = send;
  }

  list(identifier) {
    return this.#send({ method: "GET", path: `/api/databases/${segment(identifier)}/whitelist`, kind: "whole", repeatable: true });
  }

  add(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/whitelist`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  replace(identifier, body) {
    return this.#send({ method: "PUT", path: `/api/databases/${segment(identifier)}/whitelist`, kind: "data", body, repeatable: true });
  }

  preview(identifier, body, { idempotencyKey = crypto.randomUUID() } = {}) {
    return this.#send({ method: "POST", path: `/api/databases/${segment(identifier)}/whitelist/preview`, kind: "data", body, idempotencyKey, repeatable: true });
  }

  remove(identifier, whitelist_id) {
    return this.#send({ method: "DELETE", path: `/api/databases/${segment(identifier)}/whitelist/${segment(whitelist_id)}`, kind: "data" });
  }
}

export class Api {
  constructor(send) {
    this.advice = new Advice(send);
    this.alerts = new Alerts(send);
    this.audit = new Audit(send);
    this.auth = new Auth(send);
    this.backupSchedules = new BackupSchedules(send);
    this.backups = new Backups(send);
    this.blueprints = new Blueprints(send);
    this.branches = new Branches(send);
    this.cacheUsage = new CacheUsage(send);
    this.clusters = new Clusters(send);
    this.customers = new Customers(send);
    this.dataApi = new DataApi(send);
    this.databases = new Databases(send);
    this.extensions = new Extensions(send);
    this.imports = new Imports(send);
    this.insights = new Insights(send);
    this.instances = new Instances(send);
    this.keys = new Keys(send);
    this.logs = new Logs(send);
    this.maintenance = new Maintenance(send);
    this.marks = new Marks(send);
    this.metrics = new Metrics(send);
    this.migrations = new Migrations(send);
    this.moves = new Moves(send);
    this.operations = new Operations(send);
    this.past = new Past(send);
    this.plans = new Plans(send);
    this.platform = new Platform(send);
    this.prometheus = new Prometheus(send);
    this.proofs = new Proofs(send);
    this.queries = new Queries(send);
    this.restores = new Restores(send);
    this.roles = new Roles(send);
    this.rows = new Rows(send);
    this.siteBackups = new SiteBackups(send);
    this.siteJudgements = new SiteJudgements(send);
    this.siteProxies = new SiteProxies(send);
    this.siteWhitelist = new SiteWhitelist(send);
    this.sites = new Sites(send);
    this.sql = new Sql(send);
    this.users = new Users(send);
    this.whitelist = new Whitelist(send);
  }
}
