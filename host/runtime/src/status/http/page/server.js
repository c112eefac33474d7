// What is asked of the host.

const TOKEN = "tidegate-token";

/** The token that was given in this tab, if one was. */
export const token = () => sessionStorage.getItem(TOKEN);

/** Keeps a token until the tab is closed; nothing forgets it. */
export function keepToken(value) {
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
  const said = await answer.json().catch(() => ({ problem: `the host answered with ${answer.status}` }));
  if (!answer.ok) throw new Refused(answer.status, said.problem ?? `the host answered with ${answer.status}`);
  return said;
}

/** Asks for a path with these values, without those that are empty. */
export function query(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

const AGAIN_MS = 3000;

/** Calls `each` with what happens, once a second, until the answer is called. */
export function live(workload, each) {
  let source;
  let timer;
  const open = () => {
    source = new EventSource(query("/api/live", { workload }));
    source.addEventListener("message", (event) => each(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      // A stream that ends is asked for again by the browser; one that is refused is not.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
    });
  };
  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
