// What is asked of the host.

const TOKEN = "tidegate-token";

/** The token that was given in this tab, if one was. */
export const token = () => sessionStorage.getItem(TOKEN);

/** What a header of a request can have, where the token is sent. */
const ASCII = /^[!-~]+$/;

/** Keeps a token until the tab is closed; nothing forgets it. Throws if it cannot be one. */
export function keepToken(value) {
  if (value && !ASCII.test(value)) throw new Error("the token can have only visible ASCII characters");
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

/** Why something was not answered, in the host's words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem);
    this.status = status;
  }
}

/** Asks for JSON. `body` makes it a change. */
export async function ask(path, body, signal) {
  const headers = {};
  if (token()) headers.authorization = `Bearer ${token()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the host does not answer");
  }
  if (answer.status === 204) return null;
  const said = await read(answer, signal);
  if (!answer.ok) throw new Refused(answer.status, said?.problem ?? `the host answered with ${answer.status}`);
  return said;
}

/** What an answer says, if it can be read. One that is not wanted any more may end in its midst. */
async function read(answer, signal) {
  try {
    return await answer.json();
  } catch {
    signal?.throwIfAborted();
    if (answer.ok) throw new Refused(0, "the host's answer broke off");
    return null;
  }
}

/** Asks for a path with these values, without those that are empty. */
export function query(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

const AGAIN_MS = 3000;

/** Calls `each` with what happens, once a second, until it is stopped. `workload` is the one that all is told of. */
export function live(workload, each) {
  let source;
  let timer;
  const open = (of) => {
    hears.workload = of;
    source = new EventSource(query("/api/live", { workload: of }));
    source.addEventListener("message", (event) => each(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      // A stream that ends is asked for again by the browser. One that is refused is not: it is asked for without its
      // workload, which may be why.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
    });
  };
  const stop = () => {
    clearTimeout(timer);
    source.close();
  };
  const hears = { workload, stop };
  open(workload);
  return hears;
}
