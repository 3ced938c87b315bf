// Who is signed in, in this tab only: sessionStorage is gone when the tab is.

const KEY = "tidelog.session";

/** The {username, password} of the tab, or null. */
export function session() {
  return kept(() => JSON.parse(sessionStorage.getItem(KEY) ?? "null")) ?? null;
}

export function startSession(credential) {
  kept(() => sessionStorage.setItem(KEY, JSON.stringify(credential)));
}

export function endSession() {
  kept(() => sessionStorage.removeItem(KEY));
}

/** A browser may keep nothing for a page: then each reload asks anew. */
function kept(work) {
  try {
    return work();
  } catch {
    return undefined;
  }
}
