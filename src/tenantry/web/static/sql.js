// The SQL page: an editor in place of the text field, runs, and their results as grids.
const form = document.querySelector("#sql");
const field = form.querySelector("#text");
const said = document.querySelector("#said");
const results = document.querySelector("#results");
const run = form.querySelector("button.primary");
const cancel = form.querySelector("#cancel");
const texts = document.querySelector("#texts");
const ROW = 29; // px
const SPARE = 6; // rows above and below what is seen
const SHORTEST = 80, WIDEST = 360, CHARACTER = 7.6, PADDING = 26; // px

const make = (tag, properties = {}, ...inner) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inner);
  return made;
};

// ── the text: kept in this browser until its user signs out ──

const draft = form.dataset.draft;

function keep(text) {
  try {
    localStorage.setItem(draft, text);
  } catch { /* there is no room for it, or the browser stores nothing */ }
}

// What a text field and CodeMirror both do.
let editor = {
  text: () => field.value,
  selected: () => [field.selectionStart, field.selectionEnd],
  mark: (at) => { field.focus(); field.setSelectionRange(at, at + 1); },
  clear: () => {},
  replace: (text) => { field.value = text; keep(text); field.focus(); },
};
if (!field.value) field.value = localStorage.getItem(draft) ?? "";
field.addEventListener("input", () => keep(field.value));
field.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  form.requestSubmit(run);
});

// Names of the database's tables, columns and functions, when it answers.
async function complete(view, languageWith) {
  const answer = await fetch(form.dataset.names, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (answer?.ok) view.dispatch({ effects: languageWith(await answer.json()) });
}

const functionsOf = ({ functions }) => (context) => {
  const word = context.matchBefore(/\w+/);
  const options = functions.map((label) => ({ label, type: "function", apply: `${label}(` }));
  return word ? { from: word.from, options, validFor: /^\w*$/ } : null;
};

async function improve() {
  const [core, { sql, PostgreSQL }] = await Promise.all([import(form.dataset.core), import(form.dataset.language)]);
  const { Decoration, EditorView, HighlightStyle, Prec, StateEffect, StateField } = core;
  const language = new core.Compartment();
  const failed = StateEffect.define();
  const marks = StateField.define({
    create: () => Decoration.none,
    update(found, change) {
      for (const effect of change.effects) {
        if (!effect.is(failed)) continue;
        const at = effect.value;
        return at === null ? Decoration.none : Decoration.set([Decoration.mark({ class: "cm-failed" }).range(at, at + 1)]);
      }
      return change.docChanged ? Decoration.none : found;
    },
    provide: (it) => EditorView.decorations.from(it),
  });
  const colours = { "#708": "keyword", "#219": "value", "#164": "value", "#a11": "string", "#e40": "string", "#940": "comment" };
  const colour = (each) => (each.color ? { ...each, color: `var(--sql-${colours[each.color] ?? "name"})` } : each);
  const view = new EditorView({
    doc: field.value,
    extensions: [
      EditorView.cspNonce.of(form.dataset.nonce),
      Prec.highest(core.keymap.of([
        { key: "Mod-Enter", run: () => { form.requestSubmit(run); return true; } },
        // Escape closes the list of names first.
        { key: "Escape", run: (it) => { if (it.dom.querySelector(".cm-tooltip-autocomplete")) return false; run.focus(); return true; } },
      ])),
      core.basicSetup,
      core.syntaxHighlighting(HighlightStyle.define(core.defaultHighlightStyle.specs.map(colour))),
      language.of(sql({ dialect: PostgreSQL })),
      marks,
      // Chromium gives what replaces coloured text the same colour, by a style that the policy refuses.
      EditorView.domEventHandlers({
        beforeinput(event, it) {
          if (event.inputType !== "insertText" || !event.data || event.isComposing || it.state.selection.main.empty) return false;
          event.preventDefault();
          it.dispatch(it.state.replaceSelection(event.data), { userEvent: "input.type", scrollIntoView: true });
          return true;
        },
      }),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": "SQL" }),
      EditorView.updateListener.of((update) => { if (update.docChanged) keep(view.state.doc.toString()); }),
    ],
  });
  field.hidden = true;
  field.after(view.dom);
  complete(view, (names) => language.reconfigure([
    sql({ dialect: PostgreSQL, schema: names.tables, defaultSchema: "public" }),
    PostgreSQL.language.data.of({ autocomplete: functionsOf(names) }),
  ]));
  editor = {
    text: () => view.state.doc.toString(),
    selected: () => { const { from, to } = view.state.selection.main; return [from, to]; },
    mark: (at) => {
      const place = Math.min(at, Math.max(0, view.state.doc.length - 1));
      view.dispatch({ effects: view.state.doc.length ? failed.of(place) : [], selection: { anchor: place }, scrollIntoView: true });
      view.focus();
    },
    clear: () => view.dispatch({ effects: failed.of(null) }),
    replace: (text) => {
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
      view.focus();
    },
  };
}

// ── a run ──

let running = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running) return;
  const [from, until] = editor.selected();
  const text = from === until ? editor.text() : editor.text().slice(from, until);
  const body = new URLSearchParams(new FormData(form));
  body.set("sql", text);
  if (event.submitter?.name === "confirmed") body.set("confirmed", event.submitter.value);
  const to = event.submitter?.getAttribute("formaction") ?? form.action;
  if (event.submitter?.name === "explain") body.set("explain", event.submitter.value);
  running = new AbortController();
  run.disabled = true;
  cancel.disabled = false;
  said.replaceChildren();
  editor.clear();
  form.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(to, {
      method: "POST",
      headers: { "HX-Request": "true", "HX-Current-URL": location.href },
      body,
      signal: running.signal,
    });
    await show(answer, from === until ? 0 : from, event.submitter);
  } catch (error) {
    const gone = "The console is not reachable. What you typed is still here; look whether it has run.";
    results.replaceChildren();
    warn(error.name === "AbortError" ? "Cancelled. A transaction that was not complete changes nothing." : gone);
  } finally {
    running = null;
    run.disabled = false;
    cancel.disabled = true;
    form.removeAttribute("aria-busy");
    refocus(event.submitter?.isConnected ? event.submitter : run);
  }
});
cancel.addEventListener("click", () => running?.abort());

// A part of a page, in which the server has escaped all.
async function put(place, answer) {
  place.innerHTML = await answer.text();
  htmx.process(place);
}

async function show(answer, offset, submitter) {
  const onward = answer.headers.get("HX-Redirect");
  if (onward) return location.assign(onward);
  const saved = submitter?.getAttribute("formaction") === form.dataset.texts;
  if (!saved) results.replaceChildren(); // they would be taken for those of this run
  if (!answer.headers.get("Content-Type")?.startsWith("application/json")) {
    if (answer.ok && saved) return put(texts, answer);
    if (answer.ok && submitter?.name === "explain") return put(results, answer);
    await put(said, answer);
    return said.querySelector(".note")?.scrollIntoView({ block: "nearest" }); // Enter must not confirm it
  }
  const found = await answer.json();
  if (!answer.ok) {
    warn(found.message, found.hint, found.context);
    // PostgreSQL counts characters, and JavaScript the halves of some.
    const text = editor.text().slice(offset);
    const line = () => text.split("\n").slice(0, found.line - 1).join("\n").length + (found.line > 1 ? 1 : 0);
    return editor.mark(offset + (found.position ? [...text].slice(0, found.position - 1).join("").length : line()));
  }
  results.replaceChildren(...found.results.map((each, at) => card(each, at + 1)));
  htmx.ajax("GET", form.dataset.texts, { target: texts, swap: "innerHTML" });
}

function warn(...lines) {
  said.replaceChildren(make("div", { className: "note bad" }, ...lines.filter(Boolean).map((each) => make("p", {}, each))));
}

// ── results ──

function card(result, number) {
  const { rows, columns } = result;
  const counted = (number) => `${number.toLocaleString("en")} ${number === 1 ? "row" : "rows"}`;
  const count = result.truncated ? `the first ${counted(rows.length)}` : counted(result.row_count);
  const about = [columns.length ? count : "", `${result.duration_ms} ms`, result.cut.length ? "values of more than 64 KiB are cut (…)" : ""];
  const head = make("div", { className: "cardhead" }, make("h2", {}, result.command), make("span", { className: "dim small" }, about.filter(Boolean).join(" · ")));
  const made = make("section", { className: "card" }, head);
  made.setAttribute("aria-label", `Result ${number}`);
  if (columns.length) {
    const csv = make("button", { className: "button slim", type: "button" }, "CSV");
    csv.setAttribute("aria-label", `Result ${number} as CSV`);
    csv.addEventListener("click", () => download(result));
    head.append(csv);
    new Grid(result, number).into(made);
  }
  if (result.notices.length) made.append(make("div", { className: "pad dim small" }, ...result.notices.map((each) => make("p", {}, each))));
  return made;
}

// Only the rows that are seen are in the page.
class Grid {
  constructor(result, number) {
    this.rows = result.rows;
    this.columns = result.columns;
    this.cut = new Set(result.cut.map(([row, column]) => `${row}-${column}`));
    this.name = `cell-${number}`;
    this.at = [0, 0];
    this.widths = this.columns.map((column, at) => this.width(column, at));
    const total = this.widths.reduce((sum, each) => sum + each, 0);
    this.head = this.line(this.columns.map((column) => this.cell("columnheader", column.name, make("span", { className: "dim" }, ` ${column.type}`))), 1);
    this.body = make("div", { className: "rows" });
    this.body.style.height = `${this.rows.length * ROW}px`;
    const above = make("div", { className: "top" }, this.head);
    for (const part of [above, this.body]) {
      part.setAttribute("role", "rowgroup");
      part.style.width = `${total}px`;
    }
    this.box = make("div", { className: "grid", tabIndex: 0 }, above, this.body);
    const facts = { role: "grid", "aria-label": `Rows of result ${number}`, "aria-readonly": "true", "aria-rowcount": this.rows.length + 1, "aria-colcount": this.columns.length };
    for (const [name, value] of Object.entries(facts)) this.box.setAttribute(name, value);
    this.whole = make("pre", { className: "whole", tabIndex: 0, hidden: true });
    this.whole.setAttribute("aria-label", "The whole value");
    this.box.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
  }

  into(place) {
    place.append(this.box, this.whole);
    requestAnimationFrame(() => this.draw());
    this.draw();
  }

  width(column, at) {
    let longest = column.name.length + column.type.length + 2;
    for (const row of this.rows.slice(0, 100)) longest = Math.max(longest, String(row[at] ?? "NULL").length);
    return Math.round(Math.min(WIDEST, Math.max(SHORTEST, longest * CHARACTER + PADDING)));
  }

  cell(role, ...inner) {
    const made = make("div", { className: "cell" }, ...inner);
    made.setAttribute("role", role);
    return made;
  }

  line(cells, index) {
    cells.forEach((cell, at) => {
      cell.style.width = `${this.widths[at]}px`;
      cell.setAttribute("aria-colindex", at + 1);
    });
    const made = make("div", { className: "line" }, ...cells);
    made.setAttribute("role", "row");
    made.setAttribute("aria-rowindex", index);
    return made;
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + SPARE);
    const lines = [];
    for (let row = first; row < last; row++) {
      const cells = this.rows[row].map((value, column) => {
        const cell = this.cell("gridcell", value === null ? "NULL" : this.shortened(value, row, column));
        cell.id = `${this.name}-${row}-${column}`;
        cell.classList.toggle("null", value === null);
        cell.classList.toggle("number", typeof value === "number");
        cell.classList.toggle("chosen", row === this.at[0] && column === this.at[1]);
        return cell;
      });
      const line = this.line(cells, row + 2);
      line.style.top = `${row * ROW}px`;
      lines.push(line);
    }
    this.body.replaceChildren(...lines);
    const chosen = `${this.name}-${this.at.join("-")}`;
    if (document.getElementById(chosen)) this.box.setAttribute("aria-activedescendant", chosen);
    else this.box.removeAttribute("aria-activedescendant");
  }

  shortened(value, row, column) {
    const text = String(value);
    return text.length > 200 || this.cut.has(`${row}-${column}`) ? `${text.slice(0, 200)}…` : text;
  }

  choose(row, column) {
    this.at = [Math.max(0, Math.min(this.rows.length - 1, row)), Math.max(0, Math.min(this.columns.length - 1, column))];
    const top = this.at[0] * ROW, seen = this.box.clientHeight - 2 * ROW;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    if (top > this.box.scrollTop + seen) this.box.scrollTop = top - seen;
    const left = this.widths.slice(0, this.at[1]).reduce((sum, each) => sum + each, 0), right = left + this.widths[this.at[1]];
    if (left < this.box.scrollLeft) this.box.scrollLeft = left;
    if (right > this.box.scrollLeft + this.box.clientWidth) this.box.scrollLeft = right - this.box.clientWidth;
    const value = this.rows[this.at[0]]?.[this.at[1]];
    const text = String(value ?? "");
    this.whole.hidden = !(text.length > 40 || text.includes("\n"));
    this.whole.textContent = this.whole.hidden ? "" : text + (this.cut.has(this.at.join("-")) ? "… (cut)" : "");
    this.draw();
  }

  click(event) {
    const found = event.target.closest("[role=gridcell]");
    if (found) this.choose(...found.id.split("-").slice(-2).map(Number));
  }

  key(event) {
    const [row, column] = this.at;
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 2);
    const all = event.ctrlKey || event.metaKey;
    if (all && event.key === "c" && !getSelection().toString()) {
      navigator.clipboard?.writeText(String(this.rows[row]?.[column] ?? ""));
      return;
    }
    const to = {
      ArrowDown: [row + 1, column], ArrowUp: [row - 1, column], ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1],
      PageDown: [row + page, column], PageUp: [row - page, column],
      Home: [all ? 0 : row, 0], End: [all ? this.rows.length - 1 : row, this.columns.length - 1],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    this.choose(...to);
  }
}

function download(result) {
  const quoted = (value) => (value === null ? "" : /[",\r\n]/.test(String(value)) || value === "" ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const lines = [result.columns.map((each) => each.name), ...result.rows].map((row) => row.map(quoted).join(","));
  const url = URL.createObjectURL(new Blob([lines.join("\r\n"), "\r\n"], { type: "text/csv" }));
  make("a", { href: url, download: "result.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

if (form.dataset.core) improve().catch(() => { field.hidden = false; }); // the text field does without
