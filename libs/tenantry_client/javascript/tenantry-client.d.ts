import { Api, FieldProblem, Operation } from "./operations.js";

export * from "./operations.js";

/** The base of all errors of this library. */
export class TenantryError extends Error {}

/** No answer came. `sent` is whether the API may have carried out the request. */
export class ConnectionFailed extends TenantryError {
  sent: boolean;
}

/** A refusal by the API (RFC 9457). `code` is stable; `errors` has what is wrong with each field. */
export class ApiError extends TenantryError {
  status: number;
  code: string;
  title: string;
  detail: string;
  hint: string | null;
  errors: FieldProblem[];
  requestId: string | null;
  /** In seconds; null if there is none. */
  retryAfter: number | null;
}

/** An operation failed or was cancelled; `operation` is its last state. */
export class OperationFailed extends TenantryError {
  operation: Operation;
}

/**
 * A client of one installation's API. Each group of operations is a property:
 * `client.databases.create({ name: "shop" })`. They resolve to the `data` of the answer, and reject
 * with ApiError or ConnectionFailed.
 */
export class Client extends Api {
  /**
   * `timeout`: how many seconds an answer may take; `patience`: how many it may take to repeat a
   * request that was not carried out.
   */
  constructor(options: { url: string; key: string; timeout?: number; patience?: number });
  /** Wait for an operation to succeed; rejects with OperationFailed if it failed or was cancelled. */
  wait(operationId: string, report?: (operation: Operation) => void): Promise<Operation>;
}
