// Ask: SQL on the live collections, with completion; the answer as a table, a chart and CSV.
import { html, useEffect, useRef, useState, call, download, Empty, count, figure, plural } from "./lib.js";
import { TimeChart } from "./chart.js";

const FIRST = "SELECT device_id, count(*) AS messages, max(received_at) AS last\nFROM telemetry\nWHERE received_at > now() - INTERVAL 60 SECOND\nGROUP BY device_id\nORDER BY messages DESC\nLIMIT 20";
const SHOWN = 500;
const FILES = ["codemirror.css", "codemirror-hint.css"], SCRIPTS = ["codemirror.js", "codemirror-sql.js", "codemirror-hint.js", "codemirror-sql-hint.js"];
let editorLoaded = null, kept = { sql: FIRST, answer: null };

function load() {
  if (editorLoaded) return editorLoaded;
  for (const file of FILES) {
    const link = document.createElement("link");
    link.rel = "stylesheet"; link.href = `page/files/vendor/${file}`;
    document.head.append(link);
  }
  editorLoaded = SCRIPTS.reduce((before, file) => before.then(() => new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = `page/files/vendor/${file}`; script.onload = done; script.onerror = failed;
    document.head.append(script);
  })), Promise.resolve());
  return editorLoaded;
}

async function tables() {
  const { collections } = await call("GET", "collections");
  const told = await Promise.all(collections.map((name) => call("GET", `collections/${name}`).catch(() => null)));
  return Object.fromEntries(told.filter(Boolean).map((one) => [one.name, Object.keys(one.columns || {})]));
}

function Editor({ run, use }) {
  const area = useRef(null), editor = useRef(null), latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    let gone = false;
    load().then(async () => {
      if (gone) return;
      const made = CodeMirror.fromTextArea(area.current, {
        mode: "text/x-pgsql", lineWrapping: true, viewportMargin: Infinity, screenReaderLabel: "SQL statement",
        extraKeys: { "Ctrl-Enter": () => latest.current(), "Cmd-Enter": () => latest.current(), "Ctrl-Space": "autocomplete", Tab: false, "Shift-Tab": false },
        hintOptions: { completeSingle: false, tables: {} },
      });
      made.on("inputRead", (_editor, change) => { if (/[\w.]/.test(change.text[0] || "")) made.showHint({ completeSingle: false }); });
      made.on("change", () => { kept.sql = made.getValue(); });
      editor.current = made;
      use({ set: (sql) => { made.setValue(sql); made.focus(); }, mark: (line) => { if (line) made.setCursor(line - 1, 0); } });
      const known = await tables().catch(() => ({}));
      if (!gone) made.setOption("hintOptions", { completeSingle: false, tables: known });
    });
    return () => { gone = true; if (editor.current) editor.current.toTextArea(); };
  }, []);
  return html`<textarea ref=${area} class="sql" aria-label="SQL statement" spellcheck="false" rows="7" onInput=${(event) => { kept.sql = event.target.value; }}>${kept.sql}</textarea>`;
}

/** RFC 4180; text that a spreadsheet would take for a formula is quoted with an apostrophe. */
export function csv({ columns, rows }) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    let text = typeof value === "object" ? JSON.stringify(value) : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/;

/** What an answer can be drawn as: numbers over time, or numbers by name. */
function drawable({ columns, rows }) {
  const column = (at) => rows.map((row) => row[at]);
  const numbers = columns.map((_, at) => at).filter((at) => rows.some((row) => typeof row[at] === "number") && column(at).every((value) => value === null || typeof value === "number"));
  const times = columns.findIndex((_, at) => rows.length > 1 && column(at).every((value) => typeof value === "string" && MOMENT.test(value)));
  const name = columns.findIndex((_, at) => column(at).every((value) => typeof value === "string" && !MOMENT.test(value)));
  if (!rows.length || !numbers.length) return null;
  return times >= 0 ? { over: times, numbers } : name >= 0 ? { by: name, numbers } : null;
}

function Drawn({ answer, how }) {
  const [at, setAt] = useState(how.numbers[0]);
  const chosen = how.numbers.includes(at) ? at : how.numbers[0];
  const pick = how.by === undefined || how.numbers.length < 2 ? null : html`<label class="inline"><span>Column</span><select value=${chosen} onChange=${(event) => setAt(Number(event.target.value))}>${how.numbers.map((one) => html`<option key=${one} value=${one}>${answer.columns[one]}</option>`)}</select></label>`;
  if (how.over !== undefined) {
    const rows = [...answer.rows].sort((a, b) => (a[how.over] < b[how.over] ? -1 : 1));
    return html`<${TimeChart} xs=${rows.map((row) => Date.parse(row[how.over]) / 1000)} height=${240} label="The answer over time"
      series=${how.numbers.slice(0, 6).map((one, place) => ({ label: answer.columns[one], color: `--c${place + 1}`, values: rows.map((row) => row[one]) }))} />`;
  }
  const rows = answer.rows.slice(0, 40), most = Math.max(...rows.map((row) => Math.abs(row[chosen] || 0)), 1e-9);
  return html`${pick}<table class="bars"><tbody>${rows.map((row, place) => html`<tr key=${place}><th scope="row">${row[how.by]}</th><td><meter min="0" max=${most} value=${Math.abs(row[chosen] || 0)} aria-label=${figure(row[chosen])}></meter></td><td class="n">${figure(row[chosen])}</td></tr>`)}</tbody></table>
    ${answer.rows.length > 40 ? html`<p class="note">The first 40 of ${count(answer.rows.length)} rows.</p>` : null}`;
}

const shown = (value) => value === null ? html`<span class="dim">NULL</span>` : typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 6, useGrouping: false }) : String(value);

function Answer({ answer }) {
  const how = drawable(answer), [tab, setTab] = useState("table");
  const chart = how && tab === "chart";
  return html`<section class="card answer" aria-label="Answer"><div class="bar"><h2>${plural(answer.rows.length, "row")} <small>in ${figure(answer.milliseconds)} ms</small></h2>
    <div class="buttons">${how ? html`<div class="choice" role="group" aria-label="Show as"><button class=${chart ? "" : "on"} aria-pressed=${!chart} onClick=${() => setTab("table")}>Table</button><button class=${chart ? "on" : ""} aria-pressed=${chart} onClick=${() => setTab("chart")}>Chart</button></div>` : null}
    <button disabled=${!answer.rows.length} onClick=${() => download("thingstorm.csv", csv(answer), "text/csv")}>CSV</button></div></div>
    ${!answer.rows.length ? html`<${Empty} title="No rows">The statement is fine; nothing matches it.<//>`
      : chart ? html`<${Drawn} answer=${answer} how=${how} />`
      : html`<div class="scroll tall" tabindex="0" role="region" aria-label="Rows"><table class="rows"><thead><tr>${answer.columns.map((name, place) => html`<th key=${name} class=${typeof (answer.rows.find((row) => row[place] !== null) || [])[place] === "number" ? "n" : ""}>${name}</th>`)}</tr></thead>
        <tbody>${answer.rows.slice(0, SHOWN).map((row, at) => html`<tr key=${at}>${row.map((value, place) => html`<td key=${place} class=${typeof value === "number" ? "n" : ""}>${shown(value)}</td>`)}</tr>`)}</tbody></table></div>
        ${answer.rows.length > SHOWN ? html`<p class="note">The first ${SHOWN} rows are shown; the CSV has all ${count(answer.rows.length)}.</p>` : null}`}</section>`;
}

function Named({ queries, pick }) {
  return html`<section class="card named"><h2>Named queries</h2><ul>${queries.map((one) => html`<li key=${one.name}><button class="plain" onClick=${() => pick(one)}><b>${one.name.replaceAll("_", " ")}</b><span>${one.description}</span></button></li>`)}</ul></section>`;
}

export function Ask() {
  const [answer, setAnswer] = useState(kept.answer), [error, setError] = useState(null), [busy, setBusy] = useState(false);
  const [queries, setQueries] = useState([]), [given, setGiven] = useState({}), [editor, setEditor] = useState(null);
  const [parameters, setParameters] = useState([]);
  useEffect(() => { call("GET", "queries").then((told) => setQueries(told.queries), () => setQueries([])); }, []);

  async function run() {
    setBusy(true); setError(null);
    try {
      const used = Object.fromEntries(parameters.filter((one) => kept.sql.includes(`$${one.name}`)).map((one) => [one.name, one.kind === "VARCHAR" ? given[one.name] : Number(given[one.name])]));
      kept.answer = await call("POST", "query", { sql: kept.sql, parameters: used });
      setAnswer(kept.answer);
    } catch (failure) { setError(failure); const line = /LINE (\d+)/.exec(failure.message); if (editor && line) editor.mark(Number(line[1])); }
    setBusy(false);
  }

  function pick(one) {
    const sql = one.sql.split("\n").filter((line) => !line.startsWith("--")).join("\n").trim();
    setParameters(one.parameters); setGiven(Object.fromEntries(one.parameters.map((p) => [p.name, p.default])));
    kept.sql = sql;
    if (editor) editor.set(sql);
  }

  return html`<div class="view ask"><div class="left">
    <section class="card editor"><div class="bar"><h2>SQL</h2><span class="note">Ctrl+Enter runs it, Ctrl+Space completes</span></div>
      <${Editor} run=${run} use=${setEditor} />
      ${parameters.length ? html`<div class="filters">${parameters.map((one) => html`<label key=${one.name}><span>$${one.name}</span><input value=${given[one.name]} onInput=${(event) => setGiven({ ...given, [one.name]: event.target.value })} /></label>`)}</div>` : null}
      <div class="buttons"><button class="go" disabled=${busy} onClick=${run}>${busy ? "Asking …" : "Run"}</button></div>
      ${error ? html`<pre class="problem" role="alert">${error.message}${error.fix ? `\n${error.fix}` : ""}</pre>` : null}
    </section>
    ${answer ? html`<${Answer} answer=${answer} />` : html`<section class="card answer"><${Empty} title="Nothing asked yet">Run the statement, or choose a named query. Collections are live: a message can be asked for some tenths of a second after a device sent it.<//></section>`}</div>
    <${Named} queries=${queries} pick=${pick} />
  </div>`;
}
