// @ts-check
// A handler: replies with the text in capitals, and publishes it.
//
// What `handle` returns or throws decides what becomes of the message: see `wit/handler.wit`.

/** Where the text goes. The host has to be told that it may: `--grant-publish new-handler.out`. */
const OUT = "new-handler.out";

/** @type {import("./tidegate").Handler} */
export const handler = {
  handle(delivery) {
    const text = decode(delivery.payload);
    // What can never be handled is rejected: it becomes a dead letter with this reason.
    if (text === "") throw { tag: "reject", val: "the payload is empty" };
    // What may succeed later is retried, here after half a second; `undefined` leaves the delay to the configuration.
    if (text === "later" && delivery.attempt === 1) throw { tag: "retry", val: 500n };
    const loud = new TextEncoder().encode(text.toUpperCase());
    // Publications are stored before the message is acknowledged, and the reply goes to whoever waits for one.
    return { reply: loud, publications: [{ subject: OUT, headers: [], payload: loud }] };
  },
};

/** @param {Uint8Array} payload */
function decode(payload) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(payload);
  } catch {
    throw { tag: "reject", val: "the payload is not UTF-8" };
  }
}
