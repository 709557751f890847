// Now: what the fleet sends, how the model sees it, what waits where.
import { html, useEffect, useMemo, useState, call, Shown, Empty, count, figure, plural, span, clock } from "./lib.js";
import { useLive, useTopic } from "./feed.js";
import { TimeChart } from "./chart.js";

const COLORS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
const SPANS = [["2 min", 120], ["5 min", 300], ["10 min", 600]];

/** Ten minutes by second: what the server kept, and then each frame on top of it. */
function useRows(frame) {
  const [rows, setRows] = useState(new Map());
  const live = useLive();
  useEffect(() => {
    let gone = false;
    if (live) {
      call("GET", "page/history").then((told) => {
        if (!gone) setRows((before) => new Map([...told.rows.map((row) => [row.second, row]), ...[...before].filter(([second]) => second > (told.rows.at(-1) || {}).second)]));
      }).catch(() => { /* the strip says that the stack is away */ });
    }
    return () => { gone = true; };
  }, [live]);
  useEffect(() => {
    if (!frame || !frame.data) return;
    setRows((before) => {
      const next = new Map(before);
      for (const row of frame.data.rows) next.set(row.second, row);
      const newest = Math.max(...next.keys());
      for (const second of next.keys()) if (second < newest - 600) next.delete(second);
      return next;
    });
  }, [frame]);
  return rows;
}

/** A value for every second of the span, also for those nobody counted. */
function lines(rows, seconds) {
  const newest = rows.size ? Math.max(...rows.keys()) : 0;
  const oldest = rows.size ? Math.max(Math.min(...rows.keys()), newest - seconds + 1) : 1;
  const xs = [];
  for (let second = oldest; second <= newest; second += 1) xs.push(second);
  const of = (pick) => xs.map((second) => { const row = rows.get(second); const value = row ? pick(row) : null; return value === undefined ? null : value; });
  return { xs, of, last: rows.get(newest) };
}

function groupsOf(rows) {
  const totals = new Map();
  for (const row of rows.values()) for (const [group, n] of Object.entries(row.groups)) totals.set(group, (totals.get(group) || 0) + n);
  return [...totals].sort((a, b) => b[1] - a[1]).map(([group]) => group).slice(0, 8);
}

function Tile({ label, value, unit, note, tone }) {
  return html`<div class=${`tile ${tone || ""}`}><h2>${label}</h2><p class="value">${value}${unit ? html`<small> ${unit}</small>` : null}</p><p class="note">${note}</p></div>`;
}

function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

const WINDOW = 5;

/** What the model expected: its ratio is of the last five seconds together. */
function expected(of) {
  const messages = of((row) => row.messages), ratios = of((row) => row.uptick);
  return ratios.map((ratio, at) => (ratio > 0.2 && at >= WINDOW - 1 ? messages.slice(at - WINDOW + 1, at + 1).reduce((sum, n) => sum + (n || 0), 0) / WINDOW / ratio : null));
}

function Tiles({ of, data, head }) {
  const rate = mean(of((row) => row.messages).slice(-5));
  const newest = (pick) => of(pick).slice(-5).findLast((value) => value !== null);  // of some seconds not all is known yet
  const uptick = newest((row) => row.uptick), latency = newest((row) => row.latency), took = newest((row) => row.took_ms);
  const open = head ? head.open : [];
  const devices = data.devices;
  return html`<section class="tiles" aria-label="Figures">
    <${Tile} label="Messages" value=${figure(rate)} unit="a second" tone=${uptick > 1.15 ? "warm" : ""}
      note=${uptick ? (uptick > 1.15 ? `${figure(uptick)} times what is expected` : "as expected for this time") : "nothing to compare with yet"} />
    <${Tile} label="Devices" value=${count(devices.connected)} unit=${`of ${count(devices.devices)} connected`} tone=${devices.quarantined ? "hot" : ""}
      note=${devices.quarantined ? html`<a href="#/devices?state=quarantined">${count(devices.quarantined)} in quarantine</a>` : "none in quarantine"} />
    <${Tile} label="Data latency" value=${latency && latency[0] ? count(latency[0]) : "–"} unit="ms, median" note=${latency && latency[1] ? `95 % within ${span(latency[1])}, from the device until a query sees it` : "no message in the last seconds"} />
    <${Tile} label="Verdict" value=${took !== undefined ? figure(took / 1000) : "–"} unit="s" note=${head && head.detector ? `after a second has ended, by ${head.detector.replace("Detector", "").replace("Pyod", "PyOD")}` : "the model is learning"} />
    <${Tile} label="Open incidents" value=${count(open.length)} tone=${open.some((one) => one.kind === "attack") ? "hot" : open.length ? "warm" : ""}
      note=${open.length ? open.map((one, at) => html`${at ? " · " : ""}<a key=${one.incident_id} href=${`#/incidents/${one.incident_id}`}>${one.kind.replace("_", " ")}${one.devices ? `, ${plural(one.devices, "device")}` : ""}</a>`) : "nothing to look at"} />
  </section>`;
}

/** The verdict of each second as a strip under the traffic. */
function Lane({ rows, xs }) {
  const spans = [];
  for (const second of xs) {
    const row = rows.get(second), kind = (row && row.kind) || "";
    const before = spans.at(-1);
    if (before && before.kind === kind) before.seconds += 1; else spans.push({ kind, seconds: 1, from: second });
  }
  return html`<div class="lane" role="img" aria-label=${`Verdicts: ${spans.filter((one) => one.kind).map((one) => `${one.kind.replace("_", " ")} for ${one.seconds} s`).slice(-6).join(", ")}`}>
    ${spans.map((one) => html`<i key=${one.from} class=${one.kind} title=${`${one.kind.replace("_", " ") || "not judged"}, ${clock(one.from * 1000)}, ${one.seconds} s`} ref=${(mark) => { if (mark) mark.style.flexGrow = one.seconds; }}></i>`)}
  </div>`;
}

// in the order of the path; buffers that are not named here show when something is in them
const DEPTHS = {
  kept_offline: "kept by devices that are offline", messages: "messages before the rules", "router-messages.batches": "batches on their way to SNS and Firehose",
  "gate-telemetry": "messages in SQS", "worker-telemetry.in_flight": "messages at the handler", archive: "records before S3", changes: "changes before the view",
  events: "events before the rules", "router-events.batches": "event batches on their way to SNS",
};

function Depths({ depths }) {
  const order = Object.keys(DEPTHS), known = new Map(depths.map((one) => [one.name, one]));
  const shown = [...order.filter((name) => known.has(name)).map((name) => known.get(name)), ...depths.filter((one) => !DEPTHS[one.name] && one.used > 0 && one.name !== "archive.bytes")];
  return html`<section class="card two"><h2>What waits where</h2>
    <table class="depths"><thead class="sr"><tr><th>Hop</th><th>Waiting</th><th>Share</th></tr></thead><tbody>
    ${shown.map((one) => html`<tr key=${one.name} class=${one.used > 0.5 * one.capacity ? "hot" : ""}>
      <th scope="row">${DEPTHS[one.name] || one.name.replace(/[-_.]/g, " ")}</th>
      <td class="n">${count(one.used)}</td>
      <td><meter min="0" max=${one.capacity} value=${one.used} title=${`at most ${count(one.highest)} so far, room for ${count(one.capacity)}`} aria-label=${`${one.name}: ${one.used} of ${one.capacity}`}></meter></td></tr>`)}
    </tbody></table></section>`;
}

function Phases({ phases, at }) {
  const now = phases.filter((one) => one.start <= at && at < one.end + 30000);
  if (!now.length) return null;
  return html`<p class="phases">${now.map((one) => html`<span key=${one.id} class=${`phase ${one.kind.split(".")[0]}`}>${one.id}: ${one.kind.replace(/[._]/g, " ")}, ${plural(one.devices, "device")}${at > one.end ? ", over" : ""}</span>`)}</p>`;
}

export function Now({ head }) {
  const frame = useTopic("now");
  const [seconds, setSeconds] = useState(300);
  const rows = useRows(frame);
  const { xs, of, last } = useMemo(() => lines(rows, seconds), [rows, seconds]);
  const groups = useMemo(() => groupsOf(rows), [rows]);
  return html`<${Shown} frame=${frame} wait="Asking the view …">${(data) => html`<div class="view now">
    <${Tiles} of=${of} data=${data} head=${head} />
    <section class="card wide"><div class="bar"><h2>Messages a second, by topic</h2>
      <div class="choice" role="group" aria-label="Span">${SPANS.map(([name, n]) => html`<button key=${n} class=${n === seconds ? "on" : ""} aria-pressed=${n === seconds} onClick=${() => setSeconds(n)}>${name}</button>`)}</div></div>
      <${Phases} phases=${data.phases} at=${head ? head.at : Date.now()} />
      ${groups.length ? html`<${TimeChart} xs=${xs} height=${250} sync="now" phases=${data.phases} label=${`Messages a second over ${seconds} s: ${figure(last && last.messages)} in the last one`}
        series=${[...groups.map((group, at) => ({ label: group, color: COLORS[at], stack: true, values: of((row) => row.groups[group] || 0) })),
          { label: "expected", color: "--text", dash: [4, 4], values: expected(of) }]} />
        <${Lane} rows=${rows} xs=${xs} />` : html`<${Empty} title="No traffic yet">What devices send to the broker shows here within two seconds. No device at hand? <a href="#/scenarios/demo">Play the demo</a>.<//>`}
    </section>
    <div class="grid">
      <section class="card"><h2>Strangest device, in thresholds</h2>
        <${TimeChart} xs=${xs} sync="now" height=${150} min=${1.3} phases=${data.phases} label="Score of the strangest device against the threshold"
          series=${[{ label: "score", color: "--c1", fill: true, values: of((row) => row.score) }, { label: "threshold", color: "--attack", dash: [4, 4], values: xs.map(() => 1) }]} /></section>
      <section class="card"><h2>Refused a second</h2>
        <${TimeChart} xs=${xs} sync="now" height=${150} phases=${data.phases} label="Refused requests and throttled messages a second"
          series=${[{ label: "refused", color: "--attack", fill: true, values: of((row) => row.refused) }, { label: "throttled", color: "--uptick", values: of((row) => row.throttled) }]} /></section>
      <section class="card"><h2>Connections a second</h2>
        <${TimeChart} xs=${xs} sync="now" height=${150} phases=${data.phases} label="Connects and disconnects a second"
          series=${[{ label: "connects", color: "--normal", fill: true, values: of((row) => row.connects) }, { label: "disconnects", color: "--c4", values: of((row) => row.disconnects) }]} /></section>
      <section class="card"><h2>Data latency, ms</h2>
        <${TimeChart} xs=${xs} sync="now" height=${150} phases=${data.phases} min=${50} label="Milliseconds from the device until a query sees it"
          series=${[{ label: "median", color: "--c2", fill: true, values: of((row) => row.latency && row.latency[0]) }, { label: "95 %", color: "--c5", values: of((row) => row.latency && row.latency[1]) }]} /></section>
      <${Depths} depths=${data.depths} />
    </div>
  </div>`}<//>`;
}
