/** The cache refused a request; `status` is that of HTTP, null if it did not answer. */
export class CacheError extends Error {
  status: number | null;
  /** Whether the same request may succeed later. */
  get temporary(): boolean;
}

/** A stored answer. `similarity` is (1 + cosine) / 2; that of an exact hit is 1. */
export interface Found {
  id: string;
  prompt: string;
  response: string;
  similarity: number;
  strategy: "exact" | "semantic";
}

export interface Message {
  role: string;
  content: string;
  tokens?: number;
}

/** `attributes` and `scope` have to be those that an answer was stored with. */
export interface Where {
  attributes?: Record<string, string>;
  /** All that an answer depends on beside the prompt: the user, the model, earlier turns. */
  scope?: Record<string, unknown>;
}

export type Value = string | number | boolean;

/** What is stored with a vector. Without one the site's embedder makes it of `text`. */
export interface Item {
  id: string;
  /** The cache returns vectors with the length 1. */
  vector?: number[] | Float32Array;
  text?: string | null;
  attributes?: Record<string, Value>;
}

/** What a search found. `similarity` is (1 + cosine) / 2; `score` orders hybrid searches. */
export interface Match extends Item {
  similarity: number;
  cosine: number;
  score?: number;
}

export interface Query {
  vector?: number[] | Float32Array;
  text?: string;
  k?: number;
  /** On attributes, such as { price: { $lt: 50 } }. */
  filter?: Record<string, unknown>;
  minSimilarity?: number;
  /** Also look for the words of `text`, and fuse both orders. */
  hybrid?: boolean;
}

/** A collection of vectors, from `SemanticCache.vectors`. All methods reject with CacheError. */
export interface VectorCollection {
  /** Store items, in place of those that have their ids, and give how many there are. */
  upsert(items: Item[]): Promise<number>;
  search(query: Query): Promise<Match[]>;
  get(itemId: string): Promise<Item>;
  /** Delete items by their ids, or those that a filter admits, and give how many. */
  delete(what: { ids?: string[]; filter?: Record<string, unknown> }): Promise<number>;
  drop(): Promise<void>;
}

/**
 * A client of one site's cache. One that does not answer is as one with nothing in it: `check`
 * gives null then, and `store` stores nothing. Other methods reject with CacheError.
 */
export class SemanticCache {
  /** `url`: the site's cache_url; `key`: its api_key; `ttl` and `timeout`: seconds. */
  constructor(options: { url: string; key: string; ttl?: number | null; timeout?: number });
  check(prompt: string, where?: Where): Promise<Found | null>;
  store(
    prompt: string,
    response: string,
    options?: Where & { ttl?: number | null; sliding?: boolean },
  ): Promise<string | null>;
  delete(entryId: string): Promise<boolean>;
  deleteWith(attributes: Record<string, string>): Promise<number>;
  judge(entryId: string, correct: boolean): Promise<boolean>;
  flush(): Promise<void>;
  stats(): Promise<Record<string, unknown>>;
  append(session: string, messages: Message[], options?: { ttl?: number | null }): Promise<number>;
  messages(session: string, options?: { maxTokens?: number | null }): Promise<Required<Message>[]>;
  forget(session: string): Promise<boolean>;
  /** A collection of vectors. Its first items create it. */
  vectors(collection: string): VectorCollection;
  /** The names of the collections. */
  collections(): Promise<string[]>;
}
