// Flow: the architecture, with what passes each hop now; and one message followed through it.
import { html, useEffect, useState, call, part, Shown, Problem, clock, count, figure, lasted, plural } from "./lib.js";
import { useTopic } from "./feed.js";

const W = 156, H = 76;
// id, title, what it is, x, y (of 1180 x 452), the counter, its unit, [the gauge of what waits there, words]
const BOXES = [
  ["devices", "Devices", "MQTT clients", 4, 56, "published", "sent", null],
  ["broker", "Gateway", "stands in for IoT Core", 260, 56, "accepted", "accepted", ["kept_offline", "kept for sleepers"]],
  ["rules", "IoT rules", "SQL on topics", 516, 56, "routed", "selected", ["messages", "wait"]],
  ["queue", "SNS ▸ SQS", "fan out, then queue", 772, 56, "fetched", "fetched", ["gate-telemetry", "in the queue"]],
  ["handler", "Handler", "Lambda", 1020, 56, "handled", "written", ["worker-telemetry.in_flight", "under way"]],
  ["s3", "Firehose ▸ S3", "the archive", 772, 200, "archived", "records", ["archive", "wait"]],
  ["dynamo", "DynamoDB", "tables and streams", 1020, 344, "changed", "changes", null],
  ["view", "SQL view", "DuckDB", 772, 344, "viewed", "messages", ["changes", "changes wait"]],
  ["model", "Model", "PyOD", 516, 344, "judged", "verdicts", null],
  ["desk", "Response", "quarantine and alerts", 260, 344, null, "", null],
  ["people", "People", "your channels", 4, 344, null, "", null],
];
// from, to, path, label's x, y and anchor, the pair of hops whose latency it shows, the rate, more words
const ARROWS = [
  ["devices", "broker", "M160 94H256", 208, 78, "middle", "measured>accepted", "accepted"],
  ["broker", "rules", "M416 94H512", 464, 78, "middle", "accepted>routed", "accepted"],
  ["rules", "queue", "M672 94H768", 720, 78, "middle", "routed>handed on", "routed"],
  ["queue", "handler", "M928 94H1016", 972, 78, "middle", "handed on>received", "fetched"],
  ["handler", "dynamo", "M1098 132V340", 1088, 234, "end", "received>handled", "handled"],
  ["rules", "s3", "M594 132V238H768", 682, 222, "middle", "routed>archived", "archived"],
  ["dynamo", "view", "M1020 382H932", 974, 366, "middle", "handled>changed", "viewed"],
  ["view", "model", "M772 382H676", 724, 366, "middle", "judge", "counted"],
  ["model", "desk", "M516 382H420", 468, 366, "middle", "quarantine", "judged"],
  ["desk", "people", "M260 382H164", 212, 366, "middle", "alert", ""],
  ["desk", "broker", "M338 344V136", 350, 234, "start", "", ""],
];
/** What each arrow counts, in words, for those who hear the picture, and on a narrow window. */
const SAYS = { "devices>broker": "publish over MQTT", "broker>rules": "hand every message to the rules", "rules>queue": "send what they select", "queue>handler": "hand on batches", "handler>dynamo": "writes rows", "rules>s3": "send a copy for the archive", "dynamo>view": "streams its changes", "view>model": "answers for each second's counts", "model>desk": "tells its verdict", "desk>people": "alerts", "desk>broker": "shuts devices out" };

const ACTS = { alert: "alert", quarantine: "quarantine" };

function facts(data, from, to, pair, rate) {
  const acted = data.acted[ACTS[pair]];
  const took = pair === "judge" ? data.verdict_ms : acted ? acted.took : data.took[pair];
  const passes = to === "people" ? plural(acted ? acted.times : 0, "alert") : from === "desk" ? `${count(data.quarantined)} shut out`
    : data.rates[rate] === undefined ? "" : `${figure(data.rates[rate])}/s`;
  return { passes, took: took === undefined || took === null ? "" : lasted(took), moving: data.rates[rate] > 0 };
}

function Picture({ data }) {
  const path = ARROWS.map(([from, to, , , , , pair, rate]) => { const one = facts(data, from, to, pair, rate); return `${from} ${SAYS[`${from}>${to}`]}: ${one.passes}${one.took ? `, ${one.took}` : ""}`; });
  return html`<svg class="flow" viewBox="0 0 1180 440" role="img" aria-label=${`The path of messages. ${path.join(". ")}`}>
    <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0 8 4 0 8z" /></marker></defs>
    <text class="lane" x="4" y="30">messages, one by one</text><text class="lane" x="4" y="318">what is made of them</text>
    ${ARROWS.map(([from, to, line, x, y, anchor, pair, rate]) => { const one = facts(data, from, to, pair, rate); return html`<g key=${from + to} class="arrow"><path class=${one.moving ? "moving" : ""} d=${line} marker-end="url(#tip)" />
      <text class="rate" x=${x} y=${y} text-anchor=${anchor}>${one.passes}</text>
      ${one.took ? html`<text class="took" x=${x} y=${y + (anchor === "middle" ? 36 : 18)} text-anchor=${anchor}>${one.took}</text>` : null}</g>`; })}
    ${BOXES.map(([id, title, what, x, y, counter, unit, waits]) => {
      const depth = waits && data.depths[waits[0]], full = depth && depth.used > 0.5 * depth.capacity, middle = x + W / 2;
      const total = id === "devices" && data.counts.published === undefined ? `${count(data.counts.accepted)} came in` : id === "desk" ? plural((data.acted.quarantine || {}).times || 0, "quarantine") : id === "people" ? "incidents, with a link" : counter && data.counts[counter] !== undefined ? `${count(data.counts[counter])} ${unit}` : "";
      return html`<g key=${id} class=${`box ${full ? "hot" : ""}`}><rect x=${x} y=${y} width=${W} height=${H} rx="9" />
        <text class="title" x=${middle} y=${y + 21} text-anchor="middle">${title}</text>
        <text class="what" x=${middle} y=${y + 37} text-anchor="middle">${what}</text>
        <text class="total" x=${middle} y=${y + 53} text-anchor="middle">${total}</text>
        ${depth ? html`<text class="depth" x=${middle} y=${y + 68} text-anchor="middle">${count(depth.used)} ${waits[1]}</text>` : null}</g>`; })}
  </svg>`;
}

function List({ data }) {
  const titles = Object.fromEntries(BOXES.map(([id, title]) => [id, title]));
  return html`<ol class="hops">${ARROWS.map(([from, to, , , , , pair, rate]) => { const one = facts(data, from, to, pair, rate); return html`<li key=${from + to}><span><b>${titles[from]} → ${titles[to]}</b><small>${SAYS[`${from}>${to}`]}</small></span><span class="rate">${one.passes || "–"}</span><span class="took">${one.took || "–"}</span></li>`; })}</ol>`;
}

const HOPS = { measured: "The device measured", accepted: "The gateway accepted it", routed: "A rule selected it", "handed on": "An action handed it on", received: "The worker received it from SQS", handled: "The handler wrote it to DynamoDB", changed: "The stream told of it", viewed: "A query can see it", judged: "The model judged its second", archived: "It lies in S3" };

/** Where an action or file leads, without the account's names. */
const short = (detail) => detail.replace(/^sns arn:[^ ]*:/, "sns ").replace(/^.*\/(archive-[^/]+)$/, "$1");

function Steps({ steps }) {
  const first = steps[0].at / 1e6, last = steps.at(-1).at / 1e6 - first || 1;
  return html`<ol class="steps">${steps.map((step, at) => { const since = step.at / 1e6 - first, before = at ? (step.at - steps[at - 1].at) / 1e6 : 0; return html`<li key=${at}>
    <time>${clock(step.at / 1e6)}</time><span class="hop">${HOPS[step.hop] || step.hop}${step.detail ? html` <code title=${step.detail}>${short(step.detail)}</code>` : null}</span>
    <span class="wait-bar" aria-hidden="true"><i ref=${(mark) => { if (mark) { mark.style.left = `${100 * (since - before) / last}%`; mark.style.width = `${Math.max(0.4, 100 * before / last)}%`; } }}></i></span>
    <b>${at ? `+${lasted(before)}` : "0 ms"}</b><span class="dim">${lasted(since)}</span></li>`; })}</ol>`;
}

function Trace({ id, recent }) {
  const [told, setTold] = useState(null), [error, setError] = useState(null), [text, setText] = useState(id), [again, setAgain] = useState(0);
  useEffect(() => { setText(id); setTold(null); setError(null); }, [id]);
  useEffect(() => {
    let gone = false;
    if (id) call("GET", `trace/${part(id)}`).then((answer) => { if (!gone) { setTold(answer.steps); setError(null); } }, (failure) => { if (!gone) setError(failure); });
    return () => { gone = true; };
  }, [id, again]);
  return html`<section class="card trace"><h2>Follow one message</h2>
    <form class="filters" onSubmit=${(event) => { event.preventDefault(); location.hash = `#/flow/${part(text.trim())}`; }}><label class="grow"><span>Message id</span><input value=${text} onInput=${(event) => setText(event.target.value)} placeholder="the message_id of a row" /></label><button type="submit">Follow</button></form>
    ${error ? html`<${Problem} error=${error.message} fix="Each hop remembers its last 10,000 messages." />` : null}
    ${told ? html`<${Steps} steps=${told} /><p class="note">Each bar is the time since the step before. ${told.some((step) => step.hop === "archived") ? "" : html`It is not in S3 yet: <button class="plain small" onClick=${() => setAgain(again + 1)}>ask again</button>`}</p>` : null}
    <h3>The last messages: click one</h3>
    ${recent.length ? html`<ul class="recent">${recent.slice(0, 8).map((one) => html`<li key=${one.message_id} class=${one.message_id === id ? "on" : ""}><a href=${`#/flow/${one.message_id}`}>${one.message_id}</a><span class="dim">${one.device_id}</span><span class="dim">${one.topic}</span></li>`)}</ul>` : html`<p class="note">None in the last 30 seconds.</p>`}</section>`;
}

export function Flow({ id }) {
  const frame = useTopic("flow");
  return html`<${Shown} frame=${frame}>${(data) => html`<div class="view flowview"><section class="card wide"><div class="bar"><h2>Where every message goes</h2><span class="key"><span class="rate">12/s</span> passes now <span class="took">12 ms</span> takes so long</span></div>
    <${Picture} data=${data} /><${List} data=${data} />
    <p class="note">Rates are of the last five seconds, times are medians of messages that were followed from hop to hop. Connects, refusals and each device's counts take the same way on queues of their own${data.rates.events === undefined ? "" : `: ${figure(data.rates.events)} a second`}.</p></section><${Trace} id=${id} recent=${data.recent} /></div>`}<//>`;
}
