// Who is signed in, in this tab only: sessionStorage is gone when the tab is.

const KEY = "tidelog.session";

/** The {username, password} of the tab, or null. */
export function session() {
  return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
}

export function startSession(credential) {
  sessionStorage.setItem(KEY, JSON.stringify(credential));
}

export function endSession() {
  sessionStorage.removeItem(KEY);
}
