// The types of `wit/handler.wit`, for editors. What each field means is said there.

export interface Delivery {
  subject: string;
  headers: [string, string][];
  payload: Uint8Array;
  streamSequence: bigint;
  attempt: number;
  publishedAtMs: bigint;
  expectsReply: boolean;
}

export interface Publication {
  subject: string;
  headers: [string, string][];
  payload: Uint8Array;
}

export interface Response {
  reply?: Uint8Array;
  publications: Publication[];
}

/** What `handle` throws. Anything that is an `Error` counts as a fault of the handler instead, and is tried again. */
export type Failure = { tag: "retry"; val?: bigint } | { tag: "reject"; val: string };

export interface Handler {
  handle(delivery: Delivery): Response;
}
