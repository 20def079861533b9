// The console's own script: theme, dialogs, copying, keys. Pages work without it.
const find = (selector, within = document) => within.querySelector(selector);
const dialog = find("#dialog");
const shell = find(".shell");
const toast = find("#toast");
const LONG_ENOUGH = 2500; // ms, to read "Copied"

function say(text) {
  (dialog.open ? dialog : document.body).append(toast); // beside a dialog it would not be seen
  toast.textContent = text;
  setTimeout(() => { if (toast.textContent === text) toast.textContent = ""; }, LONG_ENOUGH);
}

// On a phone the tabs and the menu are strips of which only a part is seen.
for (const each of document.querySelectorAll("nav [aria-current]")) each.scrollIntoView({ block: "nearest", inline: "center" });

async function copy(field) {
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    say("Copied");
  } catch {
    say("It is selected: press Ctrl C"); // no secure context, or not permitted
  }
}

// ── theme ──

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

find("#theme")?.addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
});

// ── dialogs: what htmx puts into #dialog is shown as one ──

let warned = false;
let opener; // what had the focus before the dialog

function onward() {
  return find("[data-onward]", dialog)?.dataset.onward;
}

function opened(before) {
  warned = false;
  if (!dialog.open) {
    opener = before;
    dialog.showModal();
  }
  shell.setAttribute("aria-hidden", "true"); // as inert as it is
  find("[autofocus]", dialog)?.focus();
}

dialog?.addEventListener("close", () => {
  shell.removeAttribute("aria-hidden");
  const next = onward();
  document.body.append(toast);
  dialog.replaceChildren(); // no secret stays behind
  if (next) return location.assign(next);
  refocus(opener);
});
dialog?.addEventListener("cancel", (event) => {
  if (find("[data-secret]", dialog) && !warned) { // a password that is shown once
    event.preventDefault();
    warned = true;
    say("The password is not shown again. Esc once more closes this.");
  }
});

document.addEventListener("htmx:afterSwap", (event) => {
  nameCells();
  if (event.detail.target === dialog) opened(focused.get(event.detail.xhr));
});

// ── the focus: a button that is disabled while its request runs loses it, and what is replaced ──

const focused = new WeakMap(); // what had it when a request was sent

function isLost() {
  return [null, document.body, dialog].includes(document.activeElement);
}

// To what has come into a place, if that is to be read next; else back, or at least to the place.
function refocus(before, place) {
  const come = place && find("[data-focus]", place);
  if (come) return come.focus();
  if (!before || before === document.body || !isLost()) return;
  before.focus();
  if (!place || !isLost()) return;
  place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

document.addEventListener("htmx:beforeRequest", ({ detail }) => focused.set(detail.xhr, document.activeElement));
document.addEventListener("htmx:afterRequest", ({ detail }) => refocus(focused.get(detail.xhr), detail.target));

// ── signing in: a key that is pasted as an e-mail address moves to its field, which hides it ──

document.addEventListener("input", (event) => {
  const field = event.target, key = find("#api_key");
  if (!key || field.id !== "email" || !field.value.trim().startsWith("tnt_")) return;
  key.value = field.value.trim();
  field.value = "";
  key.focus();
});

// ── what a new instance is named ──

document.addEventListener("input", ({ target }) => {
  const shown = target.form && find("[data-container]", target.form);
  if (!shown) return;
  const { name, environment } = target.form.elements;
  shown.textContent = `${name.value || "NAME"}-${environment.value}-postgres`;
});

// ── tables: on a phone each row is a card, in which values have the names of their columns ──

function nameCells(within = document) {
  for (const table of within.querySelectorAll("table.list")) {
    const names = [...(table.tHead?.rows[0].cells ?? [])].map((cell) => (find(".sr", cell) ? "" : cell.textContent));
    for (const row of table.tBodies[0].rows) for (const cell of row.querySelectorAll("td")) if (names[cell.cellIndex]) cell.dataset.column = names[cell.cellIndex];
  }
}
nameCells();

// ── strings ──

function showString() {
  const client = find("input[name=client]:checked");
  const endpoint = find("input[name=endpoint]:checked");
  const field = find("#string");
  if (client && endpoint && field) field.value = client.dataset[endpoint.value];
}

document.addEventListener("change", (event) => {
  if (event.target.matches("input[name=client], input[name=endpoint]")) showString();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(document.getElementById(button.dataset.copy));
  if (event.target.closest("[data-close]")) dialog.close();
});

// ── rows: a value that is typed counts; what would change is shown again after another key ──

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-row]");
  if (!form) return;
  if (event.target.matches("textarea")) find("select", event.target.closest(".field")).value = "value";
  find("[data-preview]", form)?.remove();
});

// ── rows to bring back: all of them, or those that are ticked ──

document.addEventListener("change", ({ target }) => {
  const places = target.form?.querySelectorAll("input[name^='place:']");
  if (!places?.length) return;
  if (target.name === "which" && target.value === "all") for (const each of places) each.checked = false;
  else if (target.name.startsWith("place:")) target.form.elements.which.value = [...places].some((each) => each.checked) ? "chosen" : "all";
});

// ── files, sent as they are ──

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-upload]");
  const file = form && find("input[type=file]", form)?.files[0];
  if (!file) return; // a text in the form is sent as others are
  event.preventDefault();
  event.stopImmediatePropagation();
  const bar = find("progress", form), said = find(".said", form), button = event.submitter;
  const request = new XMLHttpRequest();
  request.open("POST", event.submitter?.getAttribute("formaction") ?? form.getAttribute("action"));
  for (const [name, value] of [["HX-Request", "true"], ["HX-Current-URL", location.href], ["Content-Type", form.dataset.upload]]) request.setRequestHeader(name, value);
  request.upload.addEventListener("progress", (sent) => { bar.value = sent.loaded / (sent.total || 1); });
  request.addEventListener("loadend", () => {
    bar.hidden = true;
    button.disabled = false;
    const onward = request.getResponseHeader("HX-Redirect");
    if (onward) return location.assign(onward);
    said.innerHTML = request.status ? request.responseText : ""; // a part of a page, in which the server has escaped all
    htmx.process(said);
    refocus(button, said);
    if (!request.status) said.textContent = "The console is not reachable, or has refused the file.";
  });
  bar.hidden = false;
  button.disabled = true;
  said.replaceChildren();
  request.send(file);
}, true);

// ── files of SQL: a field of the form for each, as it is ──

async function textOf(file) {
  try { // File.text() would replace what is no UTF-8
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer());
  } catch {
    return null;
  }
}

document.addEventListener("change", async ({ target }) => {
  if (!target.matches("input[data-files]")) return;
  const form = target.form, listed = find("[data-chosen]", form), { files } = target;
  for (const each of form.querySelectorAll("input[name^='file:']")) each.remove();
  const chosen = await Promise.all([...files].map(async (file) => ({ name: file.webkitRelativePath.split("/").slice(1).join("/") || file.name, text: await textOf(file) })));
  if (files !== target.files) return; // others were chosen meanwhile
  const wrong = chosen.find(({ text }) => !text);
  const reason = wrong?.text === "" ? "is empty" : "is no text in UTF-8";
  listed.textContent = wrong ? `${wrong.name} ${reason}: none of them is sent.` : chosen.map(({ name }) => name).join(", ");
  if (wrong) return;
  form.append(...chosen.map(({ name, text }) => Object.assign(document.createElement("input"), { type: "hidden", name: `file:${name}`, value: text })));
});

// ── what was typed stays in this browser until somebody signs out ──

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[action$='/sign-out']")) return;
  for (const key of Object.keys(localStorage)) if (key.startsWith("sql:")) localStorage.removeItem(key);
});

// ── moments are in UTC: what they are here ──

function showHere(field) {
  const at = new Date(`${field.value}Z`), known = !Number.isNaN(at.getTime()) && at.getTimezoneOffset() !== 0;
  let here = field.nextElementSibling;
  if (!here?.matches("[data-here]")) {
    if (!known) return;
    here = Object.assign(document.createElement("small"), { role: "status" });
    here.dataset.here = "";
    field.after(here);
  }
  here.textContent = known ? `here ${at.toLocaleString()}` : "";
}

const MOMENT = ".field > input[type=datetime-local]";
const showAllHere = () => { for (const each of document.querySelectorAll(MOMENT)) showHere(each); };
document.addEventListener("input", ({ target }) => { if (target.matches(MOMENT)) showHere(target); });
document.addEventListener("htmx:afterSwap", showAllHere);
showAllHere();

// ── keys ──

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || dialog?.open) return;
  if (event.target.closest("input, select, textarea, .cm-editor, .grid")) return;
  const target = { "/": "input[type=search]", c: "[data-key=c]" }[event.key.toLowerCase()];
  const found = target && find(target);
  if (!found) return;
  event.preventDefault();
  if (found.matches("input")) found.select();
  else found.click();
}
// Not before forms are htmx's: it sees to them at this same event, and was loaded first.
document.addEventListener("DOMContentLoaded", () => document.addEventListener("keydown", pressed));

// A page out of the browser's memory has forms that were sent, and may have ended since.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
