// What every view uses: rendering, formats, the HTTP API, small pieces.
import { html, render, useEffect, useMemo, useRef, useState, useErrorBoundary } from "./vendor/preact-htm.js";

export { html, render, useEffect, useMemo, useRef, useState, useErrorBoundary };

export const KINDS = {
  normal: "Normal", benign_uptick: "Benign uptick", attack: "Attack", undecided: "Undecided", learning: "Learning",
};

export const RESOLUTIONS = {
  true_positive: "True positive", benign_positive: "Benign positive", false_positive: "False positive",
};

// ---- formats ----

export const count = (value) => value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");

/** A figure with as many digits as it deserves. */
export function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 10000) return `${(value / 1000).toLocaleString("en", { maximumFractionDigits: size >= 1e5 ? 0 : 1 })}k`;
  return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 });
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const unit = value >= 1e6 ? ["MB", 1e6] : value >= 1e3 ? ["kB", 1e3] : ["B", 1];
  return `${figure(value / unit[1])} ${unit[0]}`;
}

export function span(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min` : `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

/** How long something took, to the tenth of a second. */
export const lasted = (ms) => (ms >= 1000 && ms < 10000 ? `${(ms / 1000).toFixed(1)} s` : span(ms));

const pad = (n) => String(n).padStart(2, "0");

export function clock(ms) {
  if (!ms) return "–";
  const d = new Date(ms);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

/** Today the time, else the day too. */
export function when(ms) {
  if (!ms) return "–";
  const d = new Date(ms), today = new Date();
  return d.toDateString() === today.toDateString() ? clock(ms) : `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock(ms)}`;
}

export const ago = (ms, now) => !ms ? "never" : now - ms < 1500 ? "now" : `${span(now - ms)} ago`;

/** A verdict's sentence beside its badge, which says the kind already. */
export function told(summary) {
  const rest = (summary || "").replace(/^(Attack|Benign uptick|Undecided|Normal): /, "");
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// ---- the HTTP API ----

export class Refused extends Error {
  constructor(message, fix) { super(message); this.fix = fix; }
}

/** Who is logged in (a name, or nobody), and the token that shows that a request comes from this page. */
export let me = { user: "", csrf: "", login: false };
export async function whoAmI() {
  me = await call("GET", "page/who").catch(() => me);
  if (me.user) document.documentElement.dataset.user = me.user;
}

/** Ask the API; an error says what happened and how to mend it. */
export async function call(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method, credentials: "same-origin",
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...(me.csrf ? { "X-CSRF-Token": me.csrf } : {}) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refused("the stack does not answer", "is it still running? The page connects again by itself");
  }
  if (answer.status === 401) { location.reload(); throw new Refused("you are logged out", "log in again"); }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(told.error || told.detail?.[0]?.msg || `${answer.status} ${answer.statusText}`, told.fix || "");
  return told;
}

export const part = encodeURIComponent;

// ---- who acts ----

export function person() {
  try { return document.documentElement.dataset.user || localStorage.getItem("person") || "operator"; } catch { return "operator"; }
}

export function rememberPerson(name) {
  try { localStorage.setItem("person", name); } catch { /* storage is off */ }
}

// ---- small pieces ----

export const Kind = ({ kind, big }) => html`<span class=${`kind ${kind} ${big ? "big" : ""}`}>${KINDS[kind] || kind}</span>`;

export const Empty = ({ title, children }) => html`<div class="empty"><p class="empty-title">${title}</p><p>${children}</p></div>`;

export const Problem = ({ error, fix }) => html`<div class="problem" role="alert"><b>${error}</b>${fix ? html`<span> ${fix}</span>` : null}</div>`;

/** A frame of the feed: waiting, an error in place, or the view. */
export function Shown({ frame, wait = "Loading …", children }) {
  if (frame && frame.error) return html`<${Problem} error=${frame.error} fix=${frame.fix} />`;
  if (!frame || frame.data === undefined) return html`<p class="wait">${wait}</p>`;
  return children(frame.data);
}

export function download(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
