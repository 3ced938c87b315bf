// The client of the public HTTP API, the only thing the console talks to.

// Above `console/`, wherever a proxy may have put the whole.
const BASE = new URL("..", import.meta.url);

/** An answer that is not a success; `status` is 0 when there was no answer. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * The JSON that `path`, such as `v1/connection`, answers to the credential {username, password}.
 * Throws an ApiError with the API's own error text.
 */
export async function get(path, credential) {
  let response;
  try {
    response = await fetch(new URL(path, BASE), {
      headers: { Accept: "application/json", Authorization: basic(credential) },
      // Else the browser answers a 401 with a password prompt of its own.
      credentials: "omit",
      cache: "no-store",
    });
  } catch {
    throw new ApiError(0, `no answer from ${location.origin}: is Tidelog running?`);
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    throw new ApiError(response.status, body?.error || `the server answered ${response.status}`);
  }
  // A proxy's page, say.
  if (!body) throw new ApiError(response.status, `what ${location.origin} answers is not Tidelog’s`);
  return body;
}

function basic({ username, password }) {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}
