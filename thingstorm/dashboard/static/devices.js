// Devices: find one, see how it does against itself and its peers, shut it out and let it back.
import { html, useEffect, useState, call, part, Shown, Empty, Kind, ago, bytes, count, figure, told, when } from "./lib.js";
import { refresh, topic, useTopic } from "./feed.js";
import { Confirm } from "./dialog.js";
import { TimeChart } from "./chart.js";

const STATES = [["", "any state"], ["connected", "connected"], ["away", "not connected"], ["quarantined", "in quarantine"], ["refused", "refused lately"]];
const SORTS = [["id", "name"], ["strange", "furthest from peers"], ["rate", "most messages"], ["refused", "most refusals"], ["seen", "last seen"]];

function ratio(value, base) {
  if (!base || !value) return html`<span class="dim">–</span>`;
  const times = value / base, tone = times > 2 ? "hot" : times > 1.4 ? "warm" : times < 0.5 ? "cold" : "";
  return html`<span class=${`times ${tone}`}>${figure(times)}×</span>`;
}

const DONE = { quarantine: "Quarantined", release: "Released", watch: "Watched" };

export function State({ one }) {
  if (one.quarantined) return html`<span class="state out">in quarantine</span>`;
  if (one.held) return html`<span class="state held">to decide</span>`;
  return one.connected ? html`<span class="state on">connected</span>` : html`<span class="state off">not connected</span>`;
}

function Table({ data, given, go, now }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Devices"><table class="rows devices"><thead><tr><th>Device</th><th>State</th><th>Last seen</th><th class="n">Messages a second</th><th class="n">against its usual</th><th class="n">against its peers</th><th class="n">Refused</th><th>Firmware</th><th>Address</th></tr></thead>
    <tbody>${data.devices.map((one) => html`<tr key=${one.device_id} class=${one.quarantined ? "out" : ""}>
      <th scope="row"><a href=${`#/devices/${part(one.device_id)}`}>${one.device_id}</a></th>
      <td><${State} one=${one} /></td><td>${ago(one.seen, now)}</td><td class="n">${figure(one.rate)}</td>
      <td class="n">${ratio(one.rate, one.own_rate)}</td><td class="n">${ratio(one.rate, one.peers_rate)}</td>
      <td class="n">${one.refused ? html`<b class="hot">${count(one.refused)}</b>` : "0"}</td><td>${one.firmware || html`<span class="dim">–</span>`}</td><td>${one.source_ip || html`<span class="dim">–</span>`}</td></tr>`)}</tbody></table></div>
    ${data.found > data.size ? html`<nav class="pager" aria-label="Pages"><button disabled=${data.page === 0} onClick=${() => go({ ...given, page: data.page - 1 })}>Before</button>
      <span>${count(data.page * data.size + 1)} to ${count(Math.min(data.found, (data.page + 1) * data.size))} of ${count(data.found)}</span>
      <button disabled=${(data.page + 1) * data.size >= data.found} onClick=${() => go({ ...given, page: data.page + 1 })}>Next</button></nav>` : null}`;
}

function hashOf(given) {
  const query = Object.entries(given).filter(([, value]) => value !== "" && value !== 0).map(([key, value]) => `${key}=${part(value)}`).join("&");
  return query ? `#/devices?${query}` : "#/devices";
}

function Filters({ given, go, types }) {
  const [text, setText] = useState(given.search || "");
  useEffect(() => {
    const soon = setTimeout(() => { if (text !== (given.search || "")) go({ ...given, search: text, page: 0 }); }, 250);
    return () => clearTimeout(soon);
  }, [text]);
  const set = (name) => (event) => go({ ...given, [name]: event.target.value, page: 0 });
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
    <label><span>Search</span><input type="search" value=${text} onInput=${(event) => setText(event.target.value)} placeholder="name, address or firmware" /></label>
    <label><span>Type</span><select value=${given.type || ""} onChange=${set("type")}><option value="">all types</option>${types.map((one) => html`<option key=${one.type} value=${one.type}>${one.type || "none"} (${one.devices})</option>`)}</select></label>
    <label><span>State</span><select value=${given.state || ""} onChange=${set("state")}>${STATES.map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}</select></label>
    <label><span>Order</span><select value=${given.sort || "id"} onChange=${set("sort")}>${SORTS.map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}</select></label>
  </form>`;
}

function Shadow({ id }) {
  const [told, setTold] = useState(null);
  useEffect(() => { let gone = false; call("GET", `page/shadow/${part(id)}`).then((answer) => { if (!gone) setTold(answer); }, (error) => { if (!gone) setTold({ why: error.message }); }); return () => { gone = true; }; }, [id]);
  if (!told) return html`<p class="wait">Asking for it …</p>`;
  if (!told.shadow) return html`<p class="note">${told.why || "This device has no shadow: it never reported a state, and none is desired of it."}</p>`;
  const { desired, reported } = told.shadow.state || {};
  return html`<div class="shadow">${[["Reported", reported], ["Desired", desired]].map(([label, value]) => html`<div key=${label}><h4>${label}</h4><pre tabindex="0">${value ? JSON.stringify(value, null, 2) : "nothing"}</pre></div>`)}</div><p class="note">Version ${told.shadow.version}.</p>`;
}

/** A reason as the model gives it names its incident first. */
function why(reason) {
  const [, incident, rest] = /^incident (\S+): (.*)$/s.exec(reason) || [];
  return incident ? html`${told(rest)} <a href=${`#/incidents/${incident}`}>See the incident</a>` : reason;
}

const HOLDS = [["", "until it is released"], ["900", "15 minutes"], ["3600", "1 hour"], ["86400", "1 day"]];

function Question({ one, verb, close }) {
  const shut = verb === "quarantine";
  return html`<${Confirm} title=${shut ? `Quarantine ${one.device_id}?` : `Release ${one.device_id}?`} verb=${shut ? "Quarantine" : "Release"} danger=${shut} close=${close}
    fields=${[{ name: "reason", label: "Why", required: true, hint: shut ? "publishes on a topic that no meter uses" : "cleaned and checked" }, ...(shut ? [{ name: "seconds", label: "For how long", kind: "select", options: HOLDS }] : [])]}
    act=${(values) => call("POST", `devices/${part(one.device_id)}/${verb}`, { reason: values.reason, by: values.by, ...(values.seconds ? { seconds: Number(values.seconds) } : {}) }).then(refresh)}>
    <p>${shut ? "Its connection is closed now, and the gateway refuses it until then." : "It may connect again at once."}</p><//>`;
}

function Detail({ one, now }) {
  const [asked, ask] = useState("");
  const xs = one.series.map((row) => row.second);
  const flat = (value) => xs.map(() => value);
  return html`<article class="detail" aria-label=${`Device ${one.device_id}`}>
    <header><a class="back" href="#/devices">All devices</a><h2>${one.device_id} <${State} one=${one} /></h2>
      ${one.quarantined && one.quarantine_reason ? html`<p class="callout"><b>In quarantine:</b> ${why(one.quarantine_reason)}</p>` : null}
      ${one.held ? html`<p class="callout undecided">The model would quarantine it (${one.held.why}): ${one.held.evidence} <a href="#/incidents">Decide</a></p>` : null}
      <dl class="facts"><div><dt>Type</dt><dd>${one.device_type || "–"}</dd></div><div><dt>Last seen</dt><dd>${ago(one.seen, now)}</dd></div><div><dt>Address</dt><dd>${one.source_ip || "–"}</dd></div>
        <div><dt>Firmware</dt><dd>${one.firmware || "–"}</dd></div><div><dt>Messages a second</dt><dd>${figure(one.rate)}</dd></div><div><dt>Its usual</dt><dd>${figure(one.own_rate)}</dd></div><div><dt>Its peers</dt><dd>${figure(one.peers_rate)}</dd></div><div><dt>Usual size</dt><dd>${bytes(one.own_size)}</dd></div></dl>
      <div class="buttons">${one.quarantined ? html`<button class="go" onClick=${() => ask("release")}>Release …</button>` : html`<button class="danger" onClick=${() => ask("quarantine")}>Quarantine …</button>`}</div>
    </header>
    <section class="card"><h3>Messages a second, the last five minutes</h3>
      ${xs.length > 1 ? html`<${TimeChart} xs=${xs} height=${170} min=${2} label=${`Messages a second of ${one.device_id}`} series=${[
        { label: "messages", color: "--c1", fill: true, values: one.series.map((row) => row.messages) },
        { label: "refused", color: "--attack", values: one.series.map((row) => row.refused) },
        ...(one.own_rate ? [{ label: "its usual", color: "--text", dash: [4, 4], values: flat(one.own_rate) }] : []),
        ...(one.peers_rate !== null ? [{ label: "its peers", color: "--c2", dash: [2, 3], values: flat(one.peers_rate) }] : [])]} />`
        : html`<${Empty} title="Silent for five minutes">It sent nothing that the gateway counted.<//>`}</section>
    <div class="pair"><section class="card"><h3>Topics it used</h3>${one.topics.length ? html`<ul class="topics">${one.topics.map((name) => html`<li key=${name}><code>${name}</code></li>`)}</ul>` : html`<p class="note">None in the last five minutes.</p>`}</section>
    <section class="card"><h3>Shadow</h3><${Shadow} id=${one.device_id} /></section></div>
    <div class="pair"><section class="card"><h3>Incidents that name it</h3>${one.incidents.length ? html`<ul class="lines">${one.incidents.map((row) => html`<li key=${row.incident_id}><a href=${`#/incidents/${row.incident_id}`}><${Kind} kind=${row.kind} /> ${when(row.opened)}</a> <span class="dim">${row.closed ? "over" : "open"}</span></li>`)}</ul>` : html`<p class="note">None.</p>`}</section>
    <section class="card"><h3>What was done about it</h3>${one.actions.length ? html`<ol class="times">${one.actions.map((row) => html`<li key=${row.action_id} class=${row.outcome === "done" ? "done" : "not"}><time>${when(row.at)}</time><div><b>${DONE[row.action] || row.action}</b>${row.outcome === "done" ? "" : ` (${row.outcome})`} by ${row.who}: ${why(row.why)}${row.ends ? html` <span class="dim">until ${when(row.ends)}</span>` : null}</div></li>`)}</ol>` : html`<p class="note">Nothing.</p>`}</section></div>
    ${asked ? html`<${Question} one=${one} verb=${asked} close=${() => ask("")} />` : null}
  </article>`;
}

export function Devices({ id, given, head }) {
  const args = { search: given.search, type: given.type, state: given.state, sort: given.sort, page: given.page };
  const list = useTopic(id ? null : topic("devices", args)), detail = useTopic(id ? topic("device", { id }) : null);
  const go = (next) => { location.replace(hashOf(next)); };
  const now = head ? head.at : Date.now();
  const [types, setTypes] = useState([]);
  useEffect(() => { if (list && list.data) setTypes(list.data.types); }, [list]);
  if (id) return html`<div class="view narrow"><${Shown} frame=${detail}>${(one) => html`<${Detail} key=${one.device_id} one=${one} now=${now} />`}<//></div>`;
  return html`<div class="view"><${Filters} given=${given} go=${go} types=${types} />
    <${Shown} frame=${list}>${(data) => data.devices.length ? html`<${Table} data=${data} given=${given} go=${go} now=${now} />`
      : html`<${Empty} title=${data.types.length ? "No device matches" : "No device yet"}>${data.types.length ? "Loosen the filter." : "A device shows here once it has connected to the broker."}<//>`}<//></div>`;
}
