// Scenarios: choose one, change its variables, play it against this stack, watch the expectations.
import { html, useEffect, useState, call, person, Empty, Problem, clock, count, plural, span } from "./lib.js";
import { refresh, useTopic } from "./feed.js";

const KINDS = [["own", "Your own"], ["stories", "Stories"], ["benign", "Benign"], ["hostile", "Attacks"], ["mixed", "Attacks inside benign events"], ["faults", "Faults of the platform"]];
const MARKS = { passed: "✓", failed: "✗", holding: "✓", waiting: "…" };
const SAYS = { passed: "passed", failed: "failed", holding: "true so far", waiting: "not yet" };

function Library({ files, id }) {
  const [text, setText] = useState("");
  const shown = files.filter((one) => `${one.name} ${one.description}`.toLowerCase().includes(text.toLowerCase()));
  return html`<section class="list" aria-label="Library"><div class="filters"><label><span>Search</span><input type="search" value=${text} placeholder=${`${files.length} scenarios`} onInput=${(event) => setText(event.target.value)} /></label></div>
    ${KINDS.map(([kind, label]) => { const own = shown.filter((one) => one.kind === kind); return own.length ? html`<h3 key=${kind}>${label}</h3><ul class="files">${own.map((one) => html`<li key=${one.name} class=${one.name === id ? "on" : ""}><a href=${`#/scenarios/${one.name}`} aria-current=${one.name === id ? "true" : undefined}><b>${one.name.split("/").at(-1).replaceAll("-", " ")}</b><span>${one.description}</span></a></li>`)}</ul>` : null; })}
    ${shown.length ? null : html`<${Empty} title="None matches">Try another word: flood, rollout, topic.<//>`}</section>`;
}

/** The timeline as bars: training first, then each phase. */
function Timeline({ phases, seconds, learns, at }) {
  const place = (mark, from, length) => { if (mark) { mark.style.left = `${100 * from / seconds}%`; mark.style.width = `${Math.max(0.6, 100 * length / seconds)}%`; } };
  return html`<div class="timeline" role="img" aria-label=${phases.map((one) => `${one.id} from ${one.at} s for ${one.for} s`).join(", ")}>
    <div class="track"><i class="training" ref=${(mark) => place(mark, 0, learns)}><span>learning</span></i></div>
    ${phases.map((one) => html`<div class="track" key=${one.id}><i class=${one.kind.split(".")[0]} ref=${(mark) => place(mark, one.at, one.for)}></i><span class="name" ref=${(mark) => { if (mark) { const late = one.at / seconds > 0.55; mark.style.left = late ? "auto" : `${100 * Math.min(1, (one.at + one.for) / seconds)}%`; mark.style.right = late ? `${100 - 100 * one.at / seconds}%` : "auto"; } }}>${one.id}<span class="sort">: ${one.kind.split(".")[1].replaceAll("_", " ")}</span></span></div>`)}
    ${at !== null && at >= 0 ? html`<b class="hand" ref=${(mark) => { if (mark) mark.style.left = `${Math.min(100, 100 * at / seconds)}%`; }}></b>` : null}
  </div>`;
}

function Expectations({ list, names }) {
  if (!list.length) return names.length ? html`<ul class="expects">${names.map((name) => html`<li key=${name} class="waiting plain"><i aria-hidden="true">·</i><span>${name.replaceAll("_", " ")}</span></li>`)}</ul>` : html`<p class="note">This file expects nothing but that no message is lost.</p>`;
  return html`<ul class="expects">${list.map((one) => html`<li key=${one.name} class=${one.state}><i aria-hidden="true">${MARKS[one.state]}</i><b>${one.name.replaceAll("_", " ").replaceAll(".", ": ")}</b><span>${one.expected}</span><span class="said">${SAYS[one.state]}${one.seen && one.state !== "waiting" ? html`: <b>${one.seen}</b>` : ""}</span></li>`)}</ul>`;
}

const STATES = { waiting: "waiting for the fleet to leave", starting: "connecting the devices", playing: "playing", settling: "over; waiting for the last messages", passed: "passed", failed: "failed", stopped: "stopped", broken: "could not be played" };

function Playing({ play, now }) {
  const [error, setError] = useState(null);
  const at = play.started ? (now - play.started) / 1000 : null;
  const phases = play.phases.map((one) => ({ id: one.id, kind: one.kind, at: (one.start - play.started) / 1000, for: (one.end - one.start) / 1000 }));
  return html`<section class=${`card play ${play.state}`} aria-label="Play"><div class="bar"><h2><span class="cap">${play.name.replaceAll("-", " ")}</span> <span class=${`state ${play.state}`} role="status">${STATES[play.state]}</span></h2>
      ${play.over ? null : html`<button onClick=${() => call("POST", "page/plays/stop").then(refresh, setError)}>Stop</button>`}</div>
    ${error ? html`<${Problem} error=${error.message} fix=${error.fix} />` : null}${play.error ? html`<p class="problem">${play.error}</p>` : null}
    <p class="note">${play.devices || "no device yet"}${play.published ? `, ${plural(play.published, "message")} sent` : ""}${at !== null && !play.over ? `, ${Math.max(0, Math.floor(at))} of ${play.seconds} s` : ""}. Seed ${play.seed}, asked for by ${play.by}.</p>
    ${play.started ? html`<${Timeline} phases=${phases} seconds=${play.seconds} learns=${(play.learns_until - play.started) / 1000} at=${play.over ? null : at} />` : null}
    <h3>Expectations</h3><${Expectations} list=${play.expectations} names=${[]} />
    ${play.ledger ? html`<p class="note">${count(play.ledger.published)} messages sent, ${count(play.ledger.viewed)} in the view, ${count(play.ledger.archived)} in S3, ${count(play.ledger.lost)} lost, ${count(play.ledger.duplicates)} doubled.</p>` : null}
    <h3>What happened</h3><ol class="times log">${play.lines.map((one, place) => html`<li key=${place}><time>${clock(one.at)}</time><div>${one.text}</div></li>`).reverse()}</ol>
  </section>`;
}

function File({ id, busy, played }) {
  const [told, setTold] = useState(null), [error, setError] = useState(null), [values, setValues] = useState({}), [seed, setSeed] = useState("");
  useEffect(() => {
    setTold(null); setError(null); setValues({}); setSeed("");
    let gone = false;
    call("GET", `page/scenarios/${id}`).then((answer) => { if (!gone) { setTold(answer); setSeed(String(answer.seed)); } }, (failure) => { if (!gone) setError(failure); });
    return () => { gone = true; };
  }, [id]);
  async function play(event) {
    event.preventDefault();
    setError(null);
    try {
      await call("POST", "page/plays", { name: id, variables: values, seed: seed === "" ? null : Number(seed), by: person() });
      refresh();
    } catch (failure) { setError(failure); }
  }
  if (error && !told) return html`<${Problem} error=${error.message} fix=${error.fix} />`;
  if (!told) return html`<p class="wait">Reading the file …</p>`;
  return html`<section class="card file"><h2 class="cap">${id.split("/").at(-1).replaceAll("-", " ")}</h2><p>${told.description}</p>
    <dl class="facts"><div><dt>Fleet</dt><dd>${told.fleet.map((one) => `${count(one.count)} ${one.group}`).join(", ")}</dd></div><div><dt>Lasts</dt><dd>${span(told.seconds * 1000)}</dd></div><div><dt>Learns for</dt><dd>${span(told.learns * 1000)}</dd></div></dl>
    ${played ? null : html`<${Timeline} phases=${told.timeline} seconds=${told.seconds} learns=${told.learns} at=${null} />`}
    <form onSubmit=${play}><div class="filters">${told.variables.map((one) => html`<label key=${one.name}><span>${one.name.replaceAll("_", " ")}</span><input value=${values[one.name] ?? one.value} onInput=${(event) => setValues({ ...values, [one.name]: event.target.value })} /></label>`)}
      <label><span>seed</span><input value=${seed} inputmode="numeric" pattern="[0-9]*" onInput=${(event) => setSeed(event.target.value)} /></label></div>
      ${played ? null : html`<h3>Expects</h3><${Expectations} list=${[]} names=${told.expects} />`}
      ${error ? html`<${Problem} error=${error.message} fix=${error.fix} />` : null}
      <div class="buttons"><button class="go" type="submit" disabled=${busy}>${busy ? "Another one is being played" : "Play it on this stack"}</button></div>
      <p class="note">Its devices connect to this stack's broker, the fleet that idles there leaves meanwhile, and the model learns anew from its clean beginning.</p></form></section>`;
}

export function Scenarios({ id, head }) {
  const frame = useTopic("scenarios"), [files, setFiles] = useState(null), [error, setError] = useState(null);
  useEffect(() => { call("GET", "page/scenarios").then((told) => setFiles(told.scenarios), setError); }, []);
  if (error) return html`<div class="view"><${Problem} error=${error.message} fix=${error.fix} /></div>`;
  if (!files) return html`<p class="wait">Reading the library …</p>`;
  const play = frame && frame.data && frame.data.play, now = head ? head.at : Date.now();
  return html`<div class=${`view split ${id || (play && !play.over) ? "one" : ""}`}><${Library} files=${files} id=${id} />
    <div class="pane">${id || play ? html`<a class="back" href="#/scenarios">All scenarios</a>` : null}
      ${play && (!play.over || !id || play.name === id.split("/").at(-1)) ? html`<${Playing} play=${play} now=${now} />` : null}
      ${id ? html`<${File} key=${id} id=${id} busy=${Boolean(play && !play.over)} played=${Boolean(play && play.name === id.split("/").at(-1))} />` : play ? null : html`<${Empty} title="No scenario chosen">Each one is a fleet, a timeline of benign and hostile events, and what must come out. Choose one to see it and to play it on this stack.<//>`}</div></div>`;
}
