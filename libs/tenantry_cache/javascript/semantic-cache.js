/** Client of Tenantry's AI cache; see semantic-cache.d.ts. */

export class CacheError extends Error {
  /** @param {string} message @param {number | null} status */
  constructor(message, status = null) {
    super(message);
    this.name = "CacheError";
    this.status = status;
  }

  get temporary() {
    return this.status === null || this.status === 429 || this.status >= 500;
  }
}

export class SemanticCache {
  #root;
  #key;
  #ttl;
  #timeout;

  constructor({ url, key, ttl = null, timeout = 5 }) {
    this.#root = `${url.replace(/\/+$/, "")}/v1/caches/own`;
    this.#key = key;
    this.#ttl = ttl;
    this.#timeout = timeout;
  }

  async check(prompt, { attributes, scope } = {}) {
    const searchStrategies = ["exact", "semantic"];
    const body = { prompt, searchStrategies, attributes, scope };
    const found = await this.#tolerated("POST", "/entries/search", body);
    const entry = found?.data[0];
    if (entry === undefined) return null;
    const { id, response, similarity, searchStrategy: strategy } = entry;
    return { id, prompt: entry.prompt, response, similarity, strategy };
  }

  async store(prompt, response, { ttl = this.#ttl, sliding = false, attributes, scope } = {}) {
    const ttlMillis = ttl === null ? undefined : Math.max(1, Math.round(ttl * 1000));
    const body = { prompt, response, ttlMillis, sliding, attributes, scope };
    return (await this.#tolerated("POST", "/entries", body))?.entryId ?? null;
  }

  delete(entryId) {
    return this.#done("DELETE", `/entries/${encodeURIComponent(entryId)}`);
  }

  async deleteWith(attributes) {
    return (await this.#send("DELETE", "/entries", { attributes })).deletedEntriesCount;
  }

  judge(entryId, correct) {
    return this.#done("POST", `/entries/${encodeURIComponent(entryId)}/feedback`, { correct });
  }

  async flush() {
    await this.#send("POST", "/flush");
  }

  stats() {
    return this.#send("GET", "/stats");
  }

  async append(session, messages, { ttl = null } = {}) {
    const ttlSeconds = ttl === null ? undefined : Math.max(1, Math.round(ttl));
    return (await this.#send("POST", this.#history(session), { messages, ttlSeconds })).count;
  }

  async messages(session, { maxTokens = null } = {}) {
    const query = maxTokens === null ? "" : `?max_tokens=${maxTokens}`;
    return (await this.#send("GET", this.#history(session) + query)).messages;
  }

  forget(session) {
    return this.#done("DELETE", this.#history(session));
  }

  vectors(collection) {
    return new VectorCollection(collection, (...request) => this.#send(...request));
  }

  async collections() {
    return (await this.#send("GET", "/vectors")).data.map(({ name }) => name);
  }

  #history(session) {
    return `/history/${encodeURIComponent(session)}`;
  }

  async #send(method, path, body) {
    const headers = { authorization: `Bearer ${this.#key}` };
    if (body !== undefined) headers["content-type"] = "application/json";
    let answer;
    let text;
    try {
      answer = await fetch(this.#root + path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body, asArray),
        signal: AbortSignal.timeout(this.#timeout * 1000),
      });
      text = await answer.text();
    } catch (error) {
      throw new CacheError(`The cache does not answer: ${error.cause?.message ?? error.message}`);
    }
    let read = {};
    try {
      read = text ? JSON.parse(text) : {};
    } catch {
      // not the cache's own answer: its status says what it is
    }
    if (answer.ok) return read;
    const said = [read.detail ?? `The cache answered ${answer.status}.`, read.hint];
    throw new CacheError(said.filter(Boolean).join(" "), answer.status);
  }

  async #tolerated(method, path, body) {
    try {
      return await this.#send(method, path, body);
    } catch (error) {
      if (error.temporary) return null;
      throw error;
    }
  }

  async #done(method, path, body) {
    try {
      await this.#send(method, path, body);
      return true;
    } catch (error) {
      if (error.status === 404) return false;
      throw error;
    }
  }
}

/** JSON.stringify writes a Float32Array, which embedders return, as an object. */
function asArray(_, value) {
  return ArrayBuffer.isView(value) ? Array.from(value) : value;
}

class VectorCollection {
  #path;
  #send;

  constructor(name, send) {
    this.#path = `/vectors/${encodeURIComponent(name)}`;
    this.#send = send;
  }

  async upsert(items) {
    return (await this.#send("POST", this.#path, { items })).count;
  }

  async search({ vector, text, k = 10, filter, minSimilarity, hybrid = false }) {
    const body = { vector, text, k, filter, minSimilarity, hybrid };
    return (await this.#send("POST", `${this.#path}/search`, body)).data;
  }

  get(itemId) {
    return this.#send("GET", `${this.#path}/items/${encodeURIComponent(itemId)}`);
  }

  async delete({ ids, filter }) {
    return (await this.#send("POST", `${this.#path}/delete`, { ids, filter })).deleted;
  }

  async drop() {
    await this.#send("DELETE", this.#path);
  }
}
