// The one place that talks to the admin API. Pages call these functions and know no path, header or
// status. The session is a cookie that scripts cannot read; its CSRF token lives in this module's memory.

const ROOT = new URL("admin/api/v1/", document.baseURI);

/** An answer that is an error, in the server's own words. */
export class ApiError extends Error {
  /**
   * @param {number} status @param {string} message @param {number | null} [retryAfter] seconds
   * @param {string | null} [member] what of the request is at fault
   */
  constructor(status, message, retryAfter = null, member = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
    this.member = member;
  }

  /** Whether the server has no such operation: an older one, or a part that is switched off. */
  get isMissing() {
    return this.status === 404 || this.status === 405 || this.status === 501;
  }
}

let csrf = "";
/** @type {() => void} */
let whenSignedOut = () => {};

/** Is called when an answer says that the session is over. @param {() => void} handler */
export function onSignedOut(handler) {
  whenSignedOut = handler;
}

/** @param {string} path @param {Record<string, any>} [query] */
function address(path, query) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, String(value));
  }
  return url;
}

/**
 * @param {string} method @param {string} path
 * @param {{query?: Record<string, any>, body?: any, signal?: AbortSignal, quiet?: boolean, asText?: boolean, headers?: Record<string, string>}} [options]
 */
async function send(method, path, options = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...options.headers };
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  let response;
  try {
    response = await fetch(address(path, options.query), {
      method, headers, signal: options.signal, credentials: "same-origin", cache: "no-store", redirect: "error",
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
    });
  } catch (error) {
    if (/** @type {Error} */ (error).name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. It may be restarting, or the network is down.");
  }
  const text = await response.text();
  if (response.ok && options.asText) return text;
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    // Some proxy's page: the status says enough.
  }
  if (response.ok) return answer;
  const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const { message: told = `The server answered with status ${response.status}.`, member = null } = answer?.error ?? {};
  // Beside its field the name that programs know it by says nothing.
  const message = told.replace(`\`${member}\`: `, "");
  if (response.status === 401 && !options.quiet) {
    csrf = "";
    whenSignedOut();
  }
  throw new ApiError(response.status, message, Number.isFinite(retryAfter) ? retryAfter : null, member);
}

/** @param {string} text */
const part = (text) => encodeURIComponent(text);

/** The most that one page of a list holds. */
const LONGEST_PAGE = 500;

/** Lists come as pages; this takes the one there is. @param {string} path @param {Record<string, any>} [query] @returns {Promise<any[]>} */
async function list(path, query) {
  return (await send("GET", path, { query })).data;
}

/** All pages of a list. @param {string} path @param {Record<string, any>} [query] @returns {Promise<any[]>} */
async function wholeList(path, query) {
  const all = [];
  let after = null;
  do {
    const page = await send("GET", path, { query: { ...query, limit: LONGEST_PAGE, after } });
    all.push(...page.data);
    after = page.next;
  } while (after);
  return all;
}

/** @param {any} session */
function keepToken(session) {
  csrf = session?.csrf_token ?? "";
  return session;
}

/** A name for one attempt to make something, so that asking again after a lost answer makes one. */
export const attempt = () => crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

// The session.
export const session = async () => keepToken(await send("GET", "session", { quiet: true }));
/** @param {string} password */
export const signIn = async (password) => keepToken(await send("POST", "session", { body: { password }, quiet: true }));
export async function signOut() {
  await send("DELETE", "session", { quiet: true });
  csrf = "";
}
export const sessions = () => list("sessions");
/** @param {string} id */
export const endSession = (id) => send("DELETE", `sessions/${part(id)}`);
/** @param {string} current @param {string} password */
export const changePassword = (current, password) => send("PUT", "password", { body: { current, new: password } });

// Tokens for programs.
export const tokens = () => list("tokens");
/** @param {{name: string, role: string, expires_at?: string | null}} token @param {string} once */
export const createToken = (token, once) => send("POST", "tokens", { body: token, headers: { "Idempotency-Key": once } });
/** @param {string} id */
export const revokeToken = (id) => send("DELETE", `tokens/${part(id)}`);

// Keys.
/** @param {boolean} all revoked ones, too */
export const keys = (all = false) => wholeList("keys", { all: all || undefined });
/** @param {string} id */
export const key = (id) => send("GET", `keys/${part(id)}`);
/** @param {any} body @param {string} once */
export const createKey = (body, once) => send("POST", "keys", { body, headers: { "Idempotency-Key": once } });
/** @param {string} id @param {any} body */
export const changeKey = (id, body) => send("PATCH", `keys/${part(id)}`, { body });
/** @param {string} id @param {any} body */
export const setKeyLimits = (id, body) => send("PATCH", `keys/${part(id)}/limits`, { body });
/** @param {string} id @param {number} graceMs */
export const rotateKey = (id, graceMs) => send("POST", `keys/${part(id)}/rotate`, { body: { grace_ms: graceMs } });
/** @param {string} id @param {boolean} disabled */
export const setDisabled = (id, disabled) => send("POST", `keys/${part(id)}/${disabled ? "disable" : "enable"}`, { body: {} });
/** @param {string} id */
export const revokeKey = (id) => send("POST", `keys/${part(id)}/revoke`, { body: {} });

// Teams.
export const teams = () => list("teams");
/** @param {any} body @param {string} once */
export const createTeam = (body, once) => send("POST", "teams", { body, headers: { "Idempotency-Key": once } });
/** @param {string} id @param {any} body */
export const setTeamLimits = (id, body) => send("PATCH", `teams/${part(id)}/limits`, { body });
/** @param {string} id */
export const deleteTeam = (id) => send("DELETE", `teams/${part(id)}`);

// What was spent.
/** @param {{since?: string, until?: string, key?: string, model?: string, by?: string, per?: string, zone?: string}} query @returns {Promise<any>} */
export const usage = (query) => send("GET", "usage", { query });
/** The viewer's time zone, whose days the server adds up by. */
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
/** Browsers may know a zone before the server does. @param {any} query @param {(query: any) => Promise<any>} ask */
const inZone = (query, ask) => ask({ ...query, zone }).catch((error) => {
  if (error instanceof ApiError && error.status === 404 && zone !== "UTC") return ask({ ...query, zone: "UTC" });
  throw error;
});
/** The same for spreadsheets. @param {Parameters<typeof usage>[0]} query @returns {Promise<string>} */
export const usageSheet = (query) => inZone(query, (query) => send("GET", "usage", { query, headers: { Accept: "text/csv" }, asText: true }));

/**
 * A report of hours or of the viewer's days: rows with `at`, the start of theirs.
 * @param {{since?: string, until?: string, key?: string, model?: string, by?: string}} query `by` that as well
 * @param {boolean} hourly
 * @returns {Promise<{rows: any[], total: any}>}
 */
export async function usageOverTime(query, hourly) {
  const step = hourly ? "hour" : "day";
  const asked = query.by ? { ...query, per: step } : { ...query, by: step };
  const report = await inZone(asked, usage);
  return { ...report, rows: report.rows.map((/** @type {any} */ row) => ({ ...row, at: row.hour ?? row.day })) };
}
/**
 * A page of receipts, newest first, and what to ask for the next one.
 * @param {{key?: string, model?: string, since?: string, until?: string, status?: string, recovered?: boolean, limit?: number, after?: string}} query
 * @returns {Promise<{data: any[], next: string | null}>}
 */
export const receiptPage = (query) => send("GET", "receipts", { query });
/** @param {Parameters<typeof receiptPage>[0]} query */
export const receipts = async (query) => (await receiptPage(query)).data;
/** @param {string} id */
export const explain = (id) => send("GET", `receipts/${part(id)}`);
export const holds = () => list("holds");
/** @param {{key?: string, limit?: number}} query */
export const adjustments = (query) => list("adjustments", query);
/** @param {{key: string, amount_usd: string, why: string, by?: string}} body */
export const adjust = (body) => send("POST", "adjustments", { body, headers: { "Idempotency-Key": attempt() } });

// The server.
export const status = () => send("GET", "status");
export const config = () => send("GET", "config");
export const providers = () => list("providers");
export const models = () => list("models");
export const prices = () => send("GET", "prices");
/** Takes newer prices from the text of a list, or only says what would change. @param {string} text @param {boolean} dryRun */
export const updatePrices = (text, dryRun) => send("POST", "prices/update", { body: { text, dry_run: dryRun } });
export const resetPrices = () => send("POST", "prices/reset", { body: {} });
/** @param {{limit?: number, after?: string}} query @returns {Promise<{data: any[], next: string | null}>} */
export const auditPage = (query) => send("GET", "audit", { query });

/**
 * A chat through the gateway, which this listener serves below `playground/`: a page may talk to no other
 * origin, and so no gateway has to let pages in. Whoever is signed in names the key and needs no secret.
 * @param {string} key its id @param {any} body @param {AbortSignal} signal
 * @returns {Promise<Response>}
 */
export function chat(key, body, signal) {
  const url = new URL("playground/v1/chat/completions", document.baseURI);
  return fetch(url, {
    method: "POST", signal, credentials: "same-origin", cache: "no-store", redirect: "error",
    headers: { "X-Conduit-Key": key, "Content-Type": "application/json", ...(csrf ? { "X-CSRF-Token": csrf } : {}) },
    body: JSON.stringify(body),
  });
}
