// Ctrl K: go to a page, or to a database, by a part of its name.
const PAUSE = 150; // ms without a key, before databases are searched for
const MOST = 8;

function made(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children);
  return element;
}

function pagesHere(text) {
  const links = [...document.querySelectorAll(".tabs .places a, .side li a, .me a.plain")];
  return links
    .map((link) => ({ label: link.textContent.trim(), path: link.getAttribute("href"), kind: link.closest(".tabs") ? "of this database" : "page" }))
    .filter((each) => each.label.toLowerCase().includes(text));
}

async function databasesLike(text, signal) {
  const query = new URLSearchParams({ search: text, limit: MOST });
  const answer = await fetch(`${find(".brand").getAttribute("href")}databases?${query}`, { signal, headers: { "HX-Request": "true", "HX-Target": "list" } });
  if (!answer.ok) return []; // not permitted, or nobody is signed in any more
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return [...page.querySelectorAll("tbody th a")].map((link) => ({ label: link.textContent, path: link.getAttribute("href"), kind: find("[data-named]", link.parentElement)?.textContent ?? "database" }));
}

function openPalette() {
  const list = made("ul", { role: "listbox", id: "destinations", "aria-label": "Pages and databases" });
  const field = made("input", { type: "text", role: "combobox", "aria-label": "Go to", "aria-controls": "destinations", "aria-expanded": "true", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: "Go to a page or a database", autofocus: "" });
  const nothing = made("p", { class: "dim", role: "status" });
  let shown = [];
  let chosen = 0;
  let asking = new AbortController();

  function choose(number) {
    chosen = Math.max(0, Math.min(number, shown.length - 1));
    [...list.children].forEach((option, index) => option.setAttribute("aria-selected", index === chosen));
    list.children[chosen]?.scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", shown.length ? `destination-${chosen}` : "");
  }

  function show(found) {
    shown = found.slice(0, 2 * MOST);
    list.replaceChildren(...shown.map((each, number) => {
      const option = made("li", { role: "option", id: `destination-${number}` }, each.label, made("span", { class: "dim small" }, each.kind));
      option.addEventListener("click", () => location.assign(each.path));
      return option;
    }));
    list.hidden = !shown.length;
    nothing.textContent = shown.length ? "" : "Nothing here is called that.";
    choose(0);
  }

  field.addEventListener("input", () => {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const text = field.value.trim().toLowerCase();
    const pages = pagesHere(text);
    show(pages);
    if (!text) return;
    setTimeout(async () => {
      if (signal.aborted) return;
      try {
        const databases = await databasesLike(text, signal);
        if (!signal.aborted && dialog.open) show([...databases, ...pages]);
      } catch { /* a later key has asked for something else, or the console is not reachable */ }
    }, PAUSE);
  });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) choose(chosen + step);
    else if (event.key === "Enter" && shown.length) location.assign(shown[chosen].path);
    else return;
    event.preventDefault();
  });

  dialog.replaceChildren(made("div", { class: "palette" }, made("h2", { class: "sr", id: "dialog-title" }, "Go to"), field, nothing, list));
  show(pagesHere(""));
  opened(document.activeElement);
}

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
  if (!dialog || dialog.open || !find("#palette")) return;
  event.preventDefault();
  openPalette();
});
find("#palette")?.addEventListener("click", openPalette);
