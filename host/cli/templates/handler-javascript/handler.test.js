import assert from "node:assert";
import { test } from "node:test";

import { handler } from "./handler.js";

const bytes = (text) => new TextEncoder().encode(text);

function call(payload, attempt = 1) {
  const subject = "new-handler.in.1";
  return handler.handle({
    subject, headers: [], payload, streamSequence: 1n, attempt, publishedAtMs: 0n, expectsReply: true,
  });
}

test("the text comes back in capitals and is published", () => {
  const { reply, publications } = call(bytes("hello tide"));
  assert.deepEqual(reply, bytes("HELLO TIDE"));
  assert.deepEqual(publications, [{ subject: "new-handler.out", headers: [], payload: bytes("HELLO TIDE") }]);
});

test("what is no text is rejected", () => {
  assert.throws(() => call(Uint8Array.of(0xff)), { tag: "reject" });
  assert.throws(() => call(bytes("")), { tag: "reject" });
});

test("what asks for a retry succeeds the second time", () => {
  assert.throws(() => call(bytes("later")), { tag: "retry", val: 500n });
  assert.ok(call(bytes("later"), 2));
});
