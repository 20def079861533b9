/** Client of Tenantry's REST API; see tenantry-client.d.ts. */

import { Api } from "./operations.js";

const POLL_SECONDS = 0.4;

const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

export class TenantryError extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

export class ConnectionFailed extends TenantryError {}

export class ApiError extends TenantryError {
  constructor(status, problem, retryAfter = null) {
    const detail = problem.detail ?? `The API answered ${status}.`;
    super([detail, problem.hint].filter(Boolean).join(" "));
    this.status = status;
    this.code = problem.code ?? "unknown";
    this.title = problem.title ?? "";
    this.detail = detail;
    this.hint = problem.hint ?? null;
    this.errors = problem.errors ?? [];
    this.requestId = problem.request_id ?? null;
    this.retryAfter = retryAfter;
  }
}

export class OperationFailed extends TenantryError {
  constructor(operation) {
    const { kind, status, step, error } = operation;
    const detail = error?.detail ?? `The operation ${kind} was ${status} at step ${step}.`;
    super([detail, error?.hint].filter(Boolean).join(" "));
    this.operation = operation;
  }
}

export class Client extends Api {
  #url;
  #key;
  #timeout;
  #patience;

  constructor({ url, key, timeout = 60, patience = 60 }) {
    super((request) => (request.kind === "pages" ? this.#pages(request) : this.#data(request)));
    this.#url = url.replace(/\/+$/, "");
    this.#key = key;
    this.#timeout = timeout;
    this.#patience = patience;
  }

  async wait(operationId, report = () => {}) {
    for (;;) {
      const operation = await this.operations.show(operationId);
      report(operation);
      if (operation.status === "succeeded") return operation;
      if (["failed", "cancelled"].includes(operation.status)) throw new OperationFailed(operation);
      await sleep(POLL_SECONDS);
    }
  }

  async *#pages(request) {
    let cursor = null;
    do {
      const query = { ...request.query, cursor };
      const page = await this.#exchange({ ...request, query, kind: "whole" });
      yield* page.data;
      cursor = page.next_cursor ?? null;
    } while (cursor !== null);
  }

  async #data(request) {
    const answer = await this.#exchange(request);
    return request.kind === "data" ? answer.data : answer;
  }

  /** Send a request until it is answered: again if that does no harm, or if it was refused for now. */
  async #exchange(request) {
    const giveUp = performance.now() + this.#patience * 1000;
    let lost = null;
    for (;;) {
      let failure;
      let seconds = null;
      try {
        return await this.#once(request);
      } catch (error) {
        if (!(error instanceof TenantryError)) throw error;
        failure = error;
      }
      if (failure instanceof ConnectionFailed) {
        if (failure.sent ? request.repeatable : lost !== null) seconds = POLL_SECONDS;
        if (failure.sent) lost = failure;
        failure = lost ?? failure;
      } else if (failure.status === 429) {
        seconds = failure.retryAfter;
      } else if (failure.status === 503) {
        // A part of the platform did not answer: it may have carried it out.
        if (request.repeatable || request.method !== "POST") seconds = failure.retryAfter;
      } else if (lost !== null && failure.code === "request_in_progress") {
        seconds = POLL_SECONDS;
      }
      if (seconds === null || performance.now() + seconds * 1000 > giveUp) throw failure;
      await sleep(seconds);
    }
  }

  async #once({ method, path, kind, query = {}, body, mediaType, idempotencyKey }) {
    const headers = { "x-api-key": this.#key };
    if (idempotencyKey !== undefined) headers["idempotency-key"] = idempotencyKey;
    const isFile = body instanceof Uint8Array || body instanceof Blob;
    if (body !== undefined) headers["content-type"] = isFile ? mediaType : "application/json";
    const asked = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const each of [value].flat()) {
        if (each !== null && each !== undefined) asked.append(name, String(each));
      }
    }
    let answer;
    let content;
    try {
      answer = await fetch(this.#url + path + (asked.size ? `?${asked}` : ""), {
        method,
        headers,
        body: body === undefined || isFile ? body : JSON.stringify(body),
        redirect: "manual",
        signal: AbortSignal.timeout(this.#timeout * 1000),
      });
      content = new Uint8Array(await answer.arrayBuffer());
    } catch (error) {
      throw failed(error);
    }
    if (answer.ok && kind === "bytes") return content;
    const text = new TextDecoder().decode(content);
    if (answer.ok && kind === "text") return text;
    let read = null;
    try {
      read = JSON.parse(text);
    } catch {
      // not Tenantry's own answer: the refusal below says so
    }
    if (answer.ok && read !== null) return read;
    throw refusal(answer, read);
  }
}

function failed(error) {
  const reason = error.cause?.message || error.cause?.code || error.message;
  const unsent = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"].includes(error.cause?.code);
  const failure = new ConnectionFailed(
    unsent
      ? `Nothing answers: ${reason}. Check the URL.`
      : `The connection was lost: ${reason}. It may have been carried out: look before you repeat it.`,
  );
  failure.sent = !unsent;
  return failure;
}

function refusal(answer, read) {
  const after = answer.headers.get("retry-after") ?? "";
  const kind = answer.headers.get("content-type") ?? "no content type";
  const problem = read?.code
    ? read
    : {
        code: "not_tenantry",
        detail: `The answer is not one of Tenantry's (HTTP ${answer.status}, ${kind}).`,
        hint: "Check the URL.",
      };
  return new ApiError(answer.status, problem, /^\d+$/.test(after) ? Number(after) : null);
}
