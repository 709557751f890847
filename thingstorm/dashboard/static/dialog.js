// Questions before something is done: what, to whom, why, by whom. A native dialog: it holds the focus, Escape closes it.
import { html, useEffect, useRef, useState, Problem, person, rememberPerson } from "./lib.js";

/** fields: [{name, label, kind: "text"|"select", value, options, required}]; `act` gets their values and `by`. */
export function Confirm({ title, children, fields = [], verb, danger, act, close }) {
  const dialog = useRef(null);
  const [values, setValues] = useState({ by: person(), ...Object.fromEntries(fields.map((one) => [one.name, one.value || ""])) });
  const [error, setError] = useState(null), [busy, setBusy] = useState(false);
  useEffect(() => { if (!dialog.current.open) dialog.current.showModal(); }, []);
  const set = (name) => (event) => setValues({ ...values, [name]: event.target.value });
  const named = document.documentElement.dataset.user;
  async function submit(event) {
    event.preventDefault();
    setBusy(true); setError(null);
    try { if (!named) rememberPerson(values.by); await act(values); close(); } catch (failure) { setError(failure); setBusy(false); }
  }
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="asked"><form onSubmit=${submit}>
    <h2 id="asked">${title}</h2>
    <div class="asked">${children}</div>
    ${fields.map((one, at) => html`<label key=${one.name}><span>${one.label}</span>
      ${one.kind === "select"
        ? html`<select value=${values[one.name]} onChange=${set(one.name)}>${one.options.map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}</select>`
        : html`<input value=${values[one.name]} onInput=${set(one.name)} required=${one.required} maxlength="500" placeholder=${one.hint || ""} autofocus=${at === 0} />`}</label>`)}
    ${named ? html`<p class="note">Recorded as ${named}.</p>` : html`<label><span>Your name, for the record</span><input value=${values.by} onInput=${set("by")} required maxlength="200" /></label>`}
    ${error ? html`<${Problem} error=${error.message} fix=${error.fix} />` : null}
    <div class="buttons"><button type="button" class="plain" onClick=${() => dialog.current.close()}>Cancel</button>
      <button type="submit" class=${danger ? "danger" : "go"} disabled=${busy}>${busy ? "Doing it …" : verb}</button></div>
  </form></dialog>`;
}
