// Incidents: the list, and one with its evidence, what was done, and what people make of it.
import { html, useState, call, part, Kind, Shown, Empty, RESOLUTIONS, ago, clock, count, figure, plural, span, told, when } from "./lib.js";
import { refresh, topic, useTopic } from "./feed.js";
import { Confirm } from "./dialog.js";
import { TimeChart } from "./chart.js";

const RESOLVE = [
  ["true_positive", "True positive", "It was an attack. Its devices stay in quarantine, and nothing of it is learnt as normal."],
  ["benign_positive", "Benign positive", "It looks like an attack and was permitted. Its devices are released, and the same signs count less on them for a week."],
  ["false_positive", "False positive", "The model was wrong. Its devices are released, and the same signs count less on them for a week."],
];

function Row({ one, chosen, now }) {
  const state = one.resolution ? RESOLUTIONS[one.resolution].toLowerCase() : one.closed ? "over" : "open";
  return html`<li class=${chosen ? "on" : ""}><a href=${`#/incidents/${one.incident_id}`} aria-current=${chosen ? "true" : undefined}>
    <span class="top"><${Kind} kind=${one.kind} /><time>${when(one.opened)}</time></span>
    <span class="what">${told(one.summary)}</span>
    <span class="under"><span class=${one.closed ? "" : "open"}>${state}</span><span>${one.closed ? `lasted ${span(one.closed - one.opened)}` : `for ${span(now - one.opened)}`}</span>${one.devices ? html`<span>${plural(one.devices, "device")}</span>` : null}</span>
  </a></li>`;
}

const FILTERS = [["", "All"], ["open", "Open"], ["security", "Security"], ["uptick", "Upticks"]];
const PASSES = { "": () => true, open: (one) => !one.closed, security: (one) => one.kind !== "benign_uptick", uptick: (one) => one.kind === "benign_uptick" };

function Held({ held, ask }) {
  if (!held.length) return null;
  return html`<section class="card held"><h2>${plural(held.length, "device")} to decide about</h2>
    <p class="note">The model would quarantine ${held.length === 1 ? "it" : "them"}, and does not do so alone: ${held[0].why}.</p>
    <ul>${held.slice(0, 30).map((one) => html`<li key=${one.device_id}><a href=${`#/devices/${part(one.device_id)}`}>${one.device_id}</a>
      <span class="buttons"><button class="danger small" onClick=${() => ask({ verb: "approve", device: one })}>Quarantine</button>
      <button class="small" onClick=${() => ask({ verb: "dismiss", device: one })}>Leave alone</button></span></li>`)}</ul></section>`;
}

function HeldQuestion({ asked, close }) {
  const { verb, device } = asked, shut = verb === "approve";
  return html`<${Confirm} title=${shut ? `Quarantine ${device.device_id}?` : `Leave ${device.device_id} alone?`} verb=${shut ? "Quarantine" : "Leave alone"} danger=${shut} close=${close}
    fields=${[{ name: "reason", label: "Why", required: true, hint: shut ? "the evidence convinces me" : "planned maintenance" }]}
    act=${(values) => call("POST", `held/${part(device.device_id)}/${verb}`, { reason: values.reason, by: values.by }).then(refresh)}>
    <p>${device.evidence}</p><p class="note">It waits for a person because ${device.why}.</p><//>`;
}

function Times({ one }) {
  const steps = [
    { at: one.opened, text: "Opened", tone: "" },
    ...one.turns.map((turn) => ({ at: turn.at, text: told(turn.summary), kind: turn.kind, sure: turn.confidence })),
    ...one.actions.map((action) => ({ at: action.at, text: done(action), who: action.who, tone: action.outcome === "done" ? "done" : "not" })),
    ...(one.closed ? [{ at: one.closed, text: "Over", tone: "" }] : []),
    ...(one.resolved ? [{ at: one.resolved, text: `Resolved as ${(RESOLUTIONS[one.resolution] || "").toLowerCase()}`, who: one.resolved_by }] : []),
  ].sort((a, b) => a.at - b.at);
  const shown = folded(steps);
  return html`<ol class="times">${shown.map((step, at) => html`<li key=${at} class=${step.tone || ""}><time>${clock(step.at)}</time>
    <div>${step.kind ? html`<${Kind} kind=${step.kind} /> ` : null}${step.text}${step.who ? html` <span class="dim">by ${step.who}</span>` : null}${step.sure ? html` <span class="dim">${Math.round(step.sure * 100)} % sure</span>` : null}</div></li>`)}</ol>`;
}

const DONE = { quarantine: "quarantined", release: "released", alert: "alerted", watch: "watched", resolve: "resolved" };

function done(action) {
  const target = action.action === "alert" ? `People told through ${action.target}` : action.action === "all_clear" ? `All clear told through ${action.target}` : action.action === "resolve" ? action.why : `${action.target} ${DONE[action.action] || action.action}`;
  return action.outcome === "done" ? target : `${target}: ${action.outcome}`;
}

/** The same thing done to many devices in one second is one line. */
function folded(steps) {
  const out = [];
  for (const step of steps) {
    const verb = step.text.split(" ").slice(1).join(" "), last = out.at(-1);
    if (last && step.who && last.who === step.who && last.verb === verb && step.at - last.first < 5000) {
      last.n += 1;
      last.text = `${last.n} devices ${verb}`;
    } else out.push({ ...step, verb, n: 1, first: step.at });
  }
  return out;
}

/** What carried the verdict: each feature with how many devices show it, the most telling first. */
function Carried({ evidence }) {
  const features = new Map();
  for (const row of evidence) {
    const known = features.get(row.feature) || { ...row, devices: 0, most: 0 };
    features.set(row.feature, { ...known, devices: known.devices + (row.device_id === "$fleet" ? 0 : 1), most: Math.max(known.most, Math.abs(row.z)) });
  }
  return html`<ul class="carried" aria-label="What carried it">${[...features.values()].slice(0, 6).map((one) => html`<li key=${one.feature}><span class=${`tag ${one.weight === "security" ? "hot" : ""}`}>${one.weight}</span> <b>${one.devices ? plural(one.devices, "device") : "the fleet"}</b>: ${one.words} <code>${one.feature}</code> <span class="dim">up to ${figure(one.most)} deviations</span></li>`)}</ul>`;
}

function Evidence({ evidence }) {
  const [all, setAll] = useState(false);
  if (!evidence.length) return html`<p class="note">No single device stands out: the whole fleet moved together, or the evidence is older than what is kept.</p>`;
  const strongest = Math.max(...evidence.map((row) => Math.abs(row.z)), 1), shown = all ? evidence : evidence.slice(0, 12);
  return html`<${Carried} evidence=${evidence} /><div class="scroll" tabindex="0" role="region" aria-label="Evidence"><table class="rows evidence"><thead><tr><th>Device</th><th>Sign</th><th class="n">Seen</th><th class="n">Usual</th><th class="n">Peers</th><th>Distance</th></tr></thead>
    <tbody>${shown.map((row) => html`<tr key=${row.device_id + row.feature}>
      <th scope="row">${row.device_id === "$fleet" ? "the fleet" : html`<a href=${`#/devices/${part(row.device_id)}`}>${row.device_id}</a>`}</th>
      <td class="sign"><span>${row.words}</span> ${row.weight === "security" ? html`<span class="tag hot">security</span>` : html`<span class="tag">load</span>`}</td>
      <td class="n" data-label="seen"><b>${figure(row.value)}</b></td><td class="n" data-label="usual">${figure(row.own)}</td><td class="n" data-label="peers">${figure(row.peers)}</td>
      <td class="z"><meter min="0" max=${strongest} value=${Math.abs(row.z)} aria-label=${`${figure(row.z)} standard deviations`}></meter><span>${figure(row.z)}</span></td></tr>`)}</tbody></table></div>
    ${evidence.length > 12 ? html`<button class="plain" onClick=${() => setAll(!all)}>${all ? "Show less" : `Show all ${evidence.length}`}</button>` : null}
    <p class="note">Usual is what the device did before, peers what its type does now; distance is in robust standard deviations. Security signs can lead to quarantine, load alone cannot.</p>`;
}

/** The traffic from before it began to after its end, with its own time shaded. */
function Around({ one, now }) {
  const rows = one.traffic;
  if (rows.length < 2) return null;
  const known = new Map(rows.map((row) => [row.second, row])), xs = [];
  for (let second = rows[0].second; second <= rows.at(-1).second; second += 1) xs.push(second);
  const of = (pick) => xs.map((second) => { const row = known.get(second); return row ? pick(row) : 0; });
  const others = { label: one.device_count ? "all others" : "all devices", color: "--c1", stack: true, values: of((row) => Math.max(0, row.all_messages - row.accused)) };
  const phases = [{ id: "this incident", kind: one.kind === "benign_uptick" ? "benign" : "attack", start: one.opened, end: one.closed || now }];
  return html`<section class="card"><h3>Messages a second around it</h3><${TimeChart} xs=${xs} height=${150} phases=${phases} label="Messages a second around the incident"
    series=${[others, ...(one.device_count ? [{ label: "accused devices", color: "--attack", stack: true, values: of((row) => row.accused) }] : [])]} /></section>`;
}

function Resolve({ one, ask }) {
  if (one.resolution) {
    const lesson = Object.keys(one.limits || {}).length;
    return html`<p class="resolved"><b>${RESOLUTIONS[one.resolution]}</b>, said ${one.resolved_by} at ${when(one.resolved)}.${lesson ? ` The model counts ${plural(lesson, "sign")} less on these devices until ${when(one.lesson_until)}.` : ""}
      <button class="plain small" onClick=${() => ask({ verb: "resolve" })}>Say otherwise</button></p>`;
  }
  return html`<div class="resolve" role="group" aria-label="What was it?"><span>What was it?</span>${RESOLVE.map(([value, label, means]) => html`<button key=${value} title=${means} onClick=${() => ask({ verb: "resolve", value })}>${label}</button>`)}</div>`;
}

function ResolveQuestion({ one, asked, close }) {
  const chosen = RESOLVE.find(([value]) => value === asked.value) || RESOLVE[0];
  const [as, setAs] = useState(chosen[0]);
  const [, label, means] = RESOLVE.find(([value]) => value === as);
  return html`<${Confirm} title="What was this incident?" verb=${`Record ${label.toLowerCase()}`} close=${close}
    fields=${[{ name: "reason", label: "Why", hint: "what you found out" }]}
    act=${(values) => call("POST", `incidents/${part(one.incident_id)}/resolve`, { as, reason: values.reason || "by hand", by: values.by }).then(refresh)}>
    <div class="choice" role="radiogroup" aria-label="What it was">${RESOLVE.map(([value, name]) => html`<button type="button" key=${value} role="radio" aria-checked=${value === as} class=${value === as ? "on" : ""} onClick=${() => setAs(value)}>${name}</button>`)}</div>
    <p>${means}</p><//>`;
}

function Detail({ one, now }) {
  const [asked, ask] = useState(null), [more, setMore] = useState(false);
  const out = new Set(one.quarantined), devices = more ? one.devices : one.devices.slice(0, 24);
  return html`<article class="detail" aria-label="Incident">
    <header><a class="back" href="#/incidents">All incidents</a>
      <h2><${Kind} kind=${one.kind} big /> ${one.closed ? "" : html`<span class="open">open</span>`}</h2>
      <p class="summary">${told(one.summary)}</p>
      <dl class="facts"><div><dt>Opened</dt><dd>${when(one.opened)} <span class="dim">${ago(one.opened, now)}</span></dd></div>
        <div><dt>${one.closed ? "Lasted" : "Lasts for"}</dt><dd>${span((one.closed || now) - one.opened)}</dd></div>
        <div><dt>Confidence</dt><dd>${one.confidence ? `${Math.round(one.confidence * 100)} %` : "–"}</dd></div>
        <div><dt>Traffic at most</dt><dd>${figure(one.uptick)} times expected</dd></div>
        <div><dt>Devices accused</dt><dd>${count(one.device_count)}</dd></div></dl>
      <${Resolve} one=${one} ask=${ask} />
    </header>
    <section class="card"><h3>Why</h3><${Evidence} evidence=${one.evidence} /></section>
    <${Around} one=${one} now=${now} />
    ${one.device_count ? html`<section class="card"><h3>${plural(one.device_count, "device")} accused, ${count(one.quarantined.length)} in quarantine</h3>
      <ul class="chips">${devices.map((id) => html`<li key=${id}><a class=${out.has(id) ? "out" : ""} href=${`#/devices/${part(id)}`}>${id}${out.has(id) ? html`<span class="sr"> in quarantine</span>` : ""}</a></li>`)}</ul>
      ${one.devices.length > 24 ? html`<button class="plain" onClick=${() => setMore(!more)}>${more ? "Show less" : `Show all ${one.devices.length}`}</button>` : null}
      ${one.quarantined.length ? html`<button onClick=${() => ask({ verb: "release" })}>Release all ${one.quarantined.length} …</button>` : null}</section>` : null}
    <section class="card"><h3>What happened</h3><${Times} one=${one} /></section>
    <p class="note id">Incident ${one.incident_id}</p>
    ${asked && asked.verb === "resolve" ? html`<${ResolveQuestion} one=${one} asked=${asked} close=${() => ask(null)} />` : null}
    ${asked && asked.verb === "release" ? html`<${Confirm} title=${`Release ${plural(one.quarantined.length, "device")}?`} verb="Release" close=${() => ask(null)}
      fields=${[{ name: "reason", label: "Why", required: true, hint: "cleaned and checked" }]}
      act=${async (values) => { for (const id of one.quarantined) await call("POST", `devices/${part(id)}/release`, { reason: values.reason, by: values.by }); refresh(); }}>
      <p>They may connect again at once: ${one.quarantined.slice(0, 8).join(", ")}${one.quarantined.length > 8 ? " …" : ""}.</p><//>` : null}
  </article>`;
}

export function Incidents({ id, head }) {
  const list = useTopic("incidents"), detail = useTopic(id ? topic("incident", { id }) : null);
  const [filter, setFilter] = useState(""), [asked, ask] = useState(null);
  const now = head ? head.at : Date.now();
  return html`<${Shown} frame=${list}>${(data) => {
    const shown = data.incidents.filter(PASSES[filter]);
    return html`<div class=${`view split ${id ? "one" : ""}`}>
      <section class="list" aria-label="Incidents">
        <${Held} held=${data.held} ask=${ask} />
        <div class="choice" role="group" aria-label="Which">${FILTERS.map(([value, label]) => html`<button key=${value} class=${value === filter ? "on" : ""} aria-pressed=${value === filter} onClick=${() => setFilter(value)}>${label}</button>`)}</div>
        ${shown.length ? html`<ul class="incidents">${shown.map((one) => html`<${Row} key=${one.incident_id} one=${one} chosen=${one.incident_id === id} now=${now} />`)}</ul>`
          : html`<${Empty} title=${data.incidents.length ? "None of this sort" : "No incident so far"}>${data.incidents.length ? "Choose another filter." : html`When the traffic leaves what is normal, it shows here within seconds. Try it: <a href="#/scenarios/demo">play the demo</a>.`}<//>`}
      </section>
      <div class="pane">${id ? html`<${Shown} frame=${detail}>${(one) => html`<${Detail} key=${one.incident_id} one=${one} now=${now} />`}<//>`
        : html`<${Empty} title="No incident chosen">Choose one on the left to see why, which devices, and what was done.<//>`}</div>
      ${asked ? html`<${HeldQuestion} asked=${asked} close=${() => ask(null)} />` : null}
    </div>`;
  }}<//>`;
}
