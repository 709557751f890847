// Flow: the architecture, with what passes each hop now; and one message followed through it.
import { html, useEffect, useState, call, part, Shown, Problem, clock, count, figure, span } from "./lib.js";
import { useTopic } from "./feed.js";

// boxes on a grid of 1000 x 430: id, title, x, y, what is counted there, its unit
const W = 128, H = 62;
const BOXES = [
  ["devices", "Devices", 16, 60, "published", "sent"], ["broker", "Broker", 196, 60, "accepted", "accepted"], ["rules", "IoT rules", 376, 60, "routed", "routed"],
  ["sns", "SNS ▸ SQS", 556, 60, null, ""], ["handler", "Handler", 736, 60, "handled", "written"],
  ["s3", "Firehose ▸ S3", 556, 186, "archived", "records"], ["dynamo", "DynamoDB", 856, 186, null, ""], ["view", "SQL view", 736, 312, "viewed", "rows"],
  ["model", "Model", 376, 312, "judged", "verdicts"], ["desk", "Response", 196, 312, null, ""],
];
// arrows: from, to, path, label x y, the pair of hops whose latency it shows, the rate
const ARROWS = [
  ["devices", "broker", "M144 91H190", 170, 48, "measured>accepted", "accepted", "MQTT"],
  ["broker", "rules", "M324 91H370", 350, 48, "accepted>routed", "accepted", ""],
  ["rules", "sns", "M504 91H550", 530, 48, "routed>handed on", "routed", ""],
  ["sns", "handler", "M684 91H730", 710, 48, "handed on>received", "handled", ""],
  ["handler", "dynamo", "M864 91H920V180", 932, 140, "received>handled", "handled", ""],
  ["rules", "s3", "M440 122V217H550", 490, 192, "routed>archived", "archived", ""],
  ["dynamo", "view", "M920 248V343H870", 932, 300, "handled>changed", "viewed", "stream"],
  ["view", "model", "M736 343H510", 620, 304, "verdict", "counted", "device counts, each second"],
  ["model", "desk", "M376 343H330", 353, 330, "", "judged", ""],
  ["desk", "broker", "M260 312V128", 304, 206, "", "", "quarantine"],
];
const DEPTH = { rules: ["messages", "wait"], sns: ["gate-telemetry", "in SQS"], view: ["changes", "changes wait"], s3: ["archive", "wait"], handler: ["worker-telemetry.in_flight", "under way"], broker: ["kept_offline", ""] };

function Picture({ data }) {
  const took = (key) => key === "verdict" ? data.verdict_ms : data.took[key];
  return html`<svg class="flow" viewBox="0 0 1000 400" role="img" aria-label=${`The path of messages: ${figure(data.rates.accepted)} a second accepted, ${figure(data.rates.viewed)} a second reach the view`}>
    <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" /></marker></defs>
    ${ARROWS.map(([from, to, path, x, y, pair, rate, words]) => html`<g key=${from + to} class="arrow"><path class=${data.rates[rate] > 0 ? "moving" : ""} d=${path} marker-end="url(#tip)" />
      <text x=${x} y=${y} text-anchor=${x > 900 ? "start" : "middle"}>${rate && data.rates[rate] !== undefined ? html`<tspan class="rate">${figure(data.rates[rate])}/s</tspan>` : null}
      ${took(pair) !== undefined && took(pair) !== null ? html`<tspan class="took" x=${x} dy="14">${span(took(pair))}</tspan>` : null}
      ${words ? html`<tspan class="words" x=${x} dy="14">${words}</tspan>` : null}</text></g>`)}
    ${BOXES.map(([id, title, x, y, counter, unit]) => { const depth = DEPTH[id] && data.depths[DEPTH[id][0]]; const full = depth && depth.used > 0.5 * depth.capacity;
      return html`<g key=${id} class=${`box ${full ? "hot" : ""}`}><rect x=${x} y=${y} width=${W} height=${H} rx="8" /><text class="title" x=${x + W / 2} y=${y + 20} text-anchor="middle">${title}</text>
      ${counter && data.counts[counter] !== undefined ? html`<text class="total" x=${x + W / 2} y=${y + 37} text-anchor="middle">${count(data.counts[counter])} ${unit}</text>` : null}
      ${id === "desk" ? html`<text class="total" x=${x + W / 2} y=${y + 37} text-anchor="middle">${count(data.quarantined)} shut out</text>` : null}
      ${depth ? html`<text class="depth" x=${x + W / 2} y=${y + 53} text-anchor="middle">${count(depth.used)} ${DEPTH[id][1]}</text>` : null}</g>`; })}
  </svg>`;
}

function List({ data }) {
  return html`<ol class="hops">${BOXES.filter(([, , , , counter]) => counter && data.counts[counter] !== undefined).map(([id, title, , , counter, unit]) => html`<li key=${id}><b>${title}</b><span>${count(data.counts[counter])} ${unit}</span><span class="dim">${figure(data.rates[counter])} a second</span></li>`)}</ol>`;
}

const HOPS = { measured: "the device measured", accepted: "the gateway accepted it", routed: "a rule selected it", "handed on": "an action handed it on", received: "the worker received it from SQS", handled: "the handler wrote it to DynamoDB", changed: "the stream told of it", viewed: "a query can see it", judged: "the model judged its second", archived: "it lies in S3" };

function Trace({ id, recent }) {
  const [told, setTold] = useState(null), [error, setError] = useState(null), [text, setText] = useState(id);
  useEffect(() => {
    setText(id); setTold(null); setError(null);
    let gone = false;
    if (id) call("GET", `trace/${part(id)}`).then((answer) => { if (!gone) setTold(answer.steps); }, (failure) => { if (!gone) setError(failure); });
    return () => { gone = true; };
  }, [id]);
  const first = told && told[0].at / 1e6;
  return html`<section class="card trace"><h2>Follow one message</h2>
    <form class="filters" onSubmit=${(event) => { event.preventDefault(); location.hash = `#/flow/${part(text.trim())}`; }}><label class="grow"><span>Message id</span><input value=${text} onInput=${(event) => setText(event.target.value)} placeholder="the message_id of a row" /></label><button type="submit">Follow</button></form>
    ${error ? html`<${Problem} error=${error.message} fix="messages are remembered by each hop for the last 10,000" />` : null}
    ${told ? html`<ol class="steps">${told.map((step, at) => html`<li key=${at}><time>${clock(step.at / 1e6)}</time><b>+${span(step.at / 1e6 - first)}</b><span>${HOPS[step.hop] || step.hop}${step.detail ? html` <code>${step.detail}</code>` : null}</span></li>`)}</ol>` : null}
    <h3>The last messages</h3>
    ${recent.length ? html`<ul class="recent">${recent.slice(0, 8).map((one) => html`<li key=${one.message_id}><a href=${`#/flow/${one.message_id}`}>${one.message_id}</a><span class="dim">${one.device_id} on ${one.topic}</span></li>`)}</ul>` : html`<p class="note">None in the last 30 seconds.</p>`}</section>`;
}

export function Flow({ id }) {
  const frame = useTopic("flow");
  return html`<${Shown} frame=${frame}>${(data) => html`<div class="view flowview"><section class="card wide"><h2>Where every message goes</h2><${Picture} data=${data} /><${List} data=${data} />
    <p class="note">Rates are of the last five seconds; times are medians of messages that were followed from hop to hop.</p></section><${Trace} id=${id} recent=${data.recent} /></div>`}<//>`;
}
