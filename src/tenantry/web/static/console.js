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

function onward() {
  return find("[data-onward]", dialog)?.dataset.onward;
}

function opened() {
  warned = false;
  if (!dialog.open) dialog.showModal();
  shell.setAttribute("aria-hidden", "true"); // as inert as it is
  find("[autofocus]", dialog)?.focus();
}

dialog?.addEventListener("close", () => {
  shell.removeAttribute("aria-hidden");
  const next = onward();
  document.body.append(toast);
  dialog.replaceChildren(); // no secret stays behind
  if (next) location.assign(next);
});
dialog?.addEventListener("cancel", (event) => {
  if (find("[data-secret]", dialog) && !warned) { // a password that is shown once
    event.preventDefault();
    warned = true;
    say("The password is not shown again. Esc once more closes this.");
  }
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === dialog) opened();
});
document.addEventListener("htmx:sendError", () => say("The console is not reachable. Nothing was changed."));

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

// ── what was typed stays in this browser until somebody signs out ──

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[action='/sign-out']")) return;
  for (const key of Object.keys(localStorage)) if (key.startsWith("sql:")) localStorage.removeItem(key);
});

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
