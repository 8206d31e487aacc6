// Where in the dashboard we are: the part of the address after `#`, so that a page can be bookmarked and
// the server needs to know nothing of it.

/** @returns {{path: string, query: Record<string, string>}} */
export function place() {
  const [path = "", query = ""] = location.hash.slice(1).split("?");
  return { path: path || "/", query: Object.fromEntries(new URLSearchParams(query)) };
}

/** @param {string} path @param {Record<string, any>} [query] */
export function addressOf(path, query = {}) {
  const filled = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(filled.map(([name, value]) => [name, String(value)])).toString();
  return `#${path}${text ? `?${text}` : ""}`;
}

/** @param {string} path @param {Record<string, any>} [query] */
export function navigate(path, query) {
  location.hash = addressOf(path, query);
}

/** Changes what is asked for without a step in the browser's history. @param {Record<string, any>} changes */
export function setQuery(changes) {
  const { path, query } = place();
  history.replaceState(null, "", addressOf(path, { ...query, ...changes }));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** @param {() => void} handler */
export const whenMoved = (handler) => addEventListener("hashchange", handler);
