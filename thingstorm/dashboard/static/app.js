// The frame of the page: the strip that says how it is, the way between the views, the theme.
import { html, render, useEffect, useErrorBoundary, useState, Kind, Problem, call, clock, me, plural, told, whoAmI } from "./lib.js";
import { useLive, useTopic } from "./feed.js";
import { Now } from "./now.js";
import { Incidents } from "./incidents.js";
import { Devices } from "./devices.js";
import { Ask } from "./ask.js";
import { Scenarios } from "./scenarios.js";
import { Flow } from "./flow.js";

const VIEWS = [
  ["now", "Now", Now, "M3 12h4l3-8 4 16 3-8h4"],
  ["incidents", "Incidents", Incidents, "M12 3 2 20h20zM12 9v5m0 2.5v.5"],
  ["devices", "Devices", Devices, "M5 4h14v12H5zM9 20h6m-3-4v4"],
  ["ask", "Ask", Ask, "M4 6h16M4 12h10M4 18h7m6-2 4 4m-1-5a3 3 0 1 1-6 0 3 3 0 0 1 6 0"],
  ["scenarios", "Scenarios", Scenarios, "M7 4v16l13-8z"],
  ["flow", "Flow", Flow, "M3 6h6v4H3zM15 14h6v4h-6zM9 8h4v8h2"],
];

/** `#/devices/meter-0001?state=away` as [view, id, arguments]. */
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...rest] = path.split("/");
  return { view: VIEWS.some(([name]) => name === view) ? view : "now", id: rest.map(decodeURIComponent).join("/"), given: Object.fromEntries(new URLSearchParams(query || "")) };
}

function usePlace() {
  const [at, setAt] = useState(place());
  useEffect(() => {
    const moved = () => setAt(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return at;
}

function toggleTheme() {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("theme", next); } catch { /* storage is off */ }
}

function Strip({ head }) {
  const live = useLive();
  const verdict = head && head.verdict;
  const open = head ? head.open.filter((one) => one.kind !== "benign_uptick") : [];
  const lasting = open.find((one) => one.kind === "attack") || open[0];
  const now = !head || head.learning || !verdict ? "learning" : verdict.kind;
  const kind = now === "normal" && lasting ? lasting.kind : now;
  const learning = head && head.learning && head.learn_until ? `Learning what is normal until ${clock(head.learn_until)}.` : "Learning what is normal: nothing is judged against history yet.";
  const words = !head ? "Waiting for the first figures." : head.learning || !verdict ? learning : now === "normal" && lasting ? `${told(lasting.summary)} No sign of it in the last seconds.` : told(verdict.summary);
  return html`<header class=${`strip ${kind}`}>
    <div class="verdict" role="status" aria-live="polite">
      <${Kind} kind=${kind} big />
      ${verdict && now !== "normal" && now !== "learning" ? html`<span class="sure">${Math.round(verdict.confidence * 100)} % sure</span>` : null}
      <span class="words" title=${words}>${words}</span>
    </div>
    <div class="side">
      ${open.length ? html`<a class="count alarm" href=${`#/incidents/${open[0].incident_id}`}>${plural(open.length, "security incident")} open</a>` : null}
      ${head && head.held ? html`<a class="count" href="#/incidents">${count_held(head.held)}</a>` : null}
      ${head && head.scenario ? html`<a class="count" href="#/scenarios">playing ${head.scenario}</a>` : null}
      ${head && head.dry_run ? html`<span class="count">dry run: nothing is done</span>` : null}
      <span class=${`live ${live ? "on" : "off"}`} title=${live ? "Figures come once a second." : "The stack does not answer; trying again."}>
        ${live ? (head ? clock(head.at) : "live") : "not connected"}</span>
      ${me.login ? html`<button class="plain small" onClick=${() => call("POST", "page/logout").finally(() => location.reload())}>${me.user ? `${me.user}, log out` : "Log out"}</button>` : null}
      <button class="plain icon" onClick=${toggleTheme} aria-label="Switch between dark and light" title="Dark or light">◐</button>
    </div>
  </header>`;
}

const count_held = (n) => `${n} to decide`;

function Trouble({ head }) {
  const trouble = head ? head.trouble.filter((one) => one.state !== "stopped") : [];
  if (!trouble.length) return null;
  return html`<div class="trouble" role="alert"><b>${plural(trouble.length, "part")} of the stack ${trouble.length === 1 ? "is" : "are"} not ready:</b>
    ${trouble.slice(0, 4).map((one) => html` <span>${one.service} (${one.detail || one.state})</span>`)}</div>`;
}

function Guarded({ children }) {
  const [error, reset] = useErrorBoundary((failure) => console.error(failure));
  if (error) return html`<div class="view"><${Problem} error=${`This view stopped: ${error.message}`} fix="reload it; the others go on" /><button onClick=${reset}>Show it again</button></div>`;
  return children;
}

function App() {
  const { view, id, given } = usePlace();
  const frame = useTopic("head");
  const head = frame && frame.data;
  const [, label, View] = VIEWS.find(([name]) => name === view);
  useEffect(() => {
    const alarm = head && head.open.some((one) => one.kind === "attack");
    document.title = `${alarm ? "● attack · " : ""}${label} · thingstorm`;
  }, [label, head]);
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the view</a>
    <nav class="rail" aria-label="Views">
      <a class="brand" href="#/now" aria-label="thingstorm, to the view Now"><svg viewBox="0 0 32 32" aria-hidden="true"><path d="M4 20h5l3-9 5 14 4-9 2 4h5"/></svg><span>thingstorm</span></a>
      ${VIEWS.map(([name, title, , path]) => html`<a key=${name} href=${`#/${name}`} class=${name === view ? "on" : ""} aria-current=${name === view ? "page" : undefined}>
        <svg viewBox="0 0 24 24" aria-hidden="true"><path d=${path} /></svg><span>${title}</span>
        ${name === "incidents" && head && head.open.length ? html`<em class=${head.open.some((one) => one.kind !== "benign_uptick") ? "alarm" : ""} aria-label=${`${head.open.length} open`}>${head.open.length}</em>` : null}
      </a>`)}
    </nav>
    <div class="page">
      <${Strip} head=${head} />
      <${Trouble} head=${head} />
      <main id="main" tabindex="-1" key=${view}><h1 class="sr">${label}</h1><${Guarded}><${View} id=${id} given=${given} head=${head} /><//></main>
    </div>`;
}

const root = document.getElementById("app");
await whoAmI();
root.replaceChildren();
render(html`<${App} />`, root);
