// Values of rows, changed in place: the fields of a row's own form move into its cells, and what they would change is shown.
const grid = find("table[data-cells]");
let editing = null; // { row, form, names of its fields, what its cells had before }

const nameOf = (cell) => grid.tHead.rows[0].cells[cell.cellIndex].dataset.name;
const fieldIn = (cell) => find("textarea, select", cell);
const isChanged = (field) => (field.options ? [...field.options].some((each) => each.selected !== each.defaultSelected) : field.value !== field.defaultValue);
const isTyped = () => [...editing.before.keys()].some((cell) => isChanged(fieldIn(cell)));

function stop() {
  for (const [cell, nodes] of editing.before) cell.replaceChildren(...nodes);
  editing.form.remove();
  editing = null;
}

async function fetchForm(row) {
  const address = find("a", row).getAttribute("href");
  const answer = await fetch(address, { headers: { "HX-Request": "true", "HX-Current-URL": location.href } }).catch(() => null);
  const onward = answer?.headers.get("HX-Redirect");
  if (onward) location.assign(onward);
  const page = new DOMParser().parseFromString((await answer?.text()) ?? "", "text/html");
  return page.querySelector("form[data-row]");
}

async function begin(row) {
  const form = await fetchForm(row);
  if (!form) return say("This row cannot be changed now. Load the page again.");
  form.id = "in-place";
  form.append(made("input", { type: "hidden", name: "in_place", value: "yes" }));
  const names = JSON.parse(form.elements.columns.value).map(([name]) => name);
  editing = { row, form, names, before: new Map() };
  grid.closest("form").before(form);
  htmx.process(form);
}

async function edit(cell) {
  const row = cell.parentElement;
  if (editing && editing.row !== row) {
    if (isTyped()) return say("Another row has changes: Enter shows them, Escape discards them.");
    stop();
  }
  if (!editing) await begin(row);
  if (!editing) return;
  const number = editing.names.indexOf(nameOf(cell));
  const field = fieldIn(cell) ?? editing.form.elements[`value:${number}`] ?? editing.form.elements[`how:${number}`]; // the one of a boolean
  if (!field) return say("SQL alone changes this value.");
  if (!editing.before.has(cell)) {
    editing.before.set(cell, [...cell.childNodes]);
    field.setAttribute("form", editing.form.id);
    field.setAttribute("aria-label", nameOf(cell));
    cell.replaceChildren(field);
  }
  field.select?.();
  field.focus();
}

function typed(event, cell) {
  const next = event.shiftKey ? cell.previousElementSibling : cell.nextElementSibling;
  if (event.key === "Enter" && !event.shiftKey) editing.form.requestSubmit();
  else if (event.key === "Tab" && next && nameOf(next)) edit(next);
  else if (event.key === "Escape") {
    stop();
    cell.focus();
  } else return;
  event.preventDefault();
}

function moved(event, cell) {
  const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
  const next = grid.tBodies[0].rows[cell.parentElement.sectionRowIndex + down]?.cells[cell.cellIndex + right];
  if (event.key === "Enter" || event.key === "F2") edit(cell);
  else if ((down || right) && next && nameOf(next)) next.focus();
  else return;
  event.preventDefault();
}

if (grid) {
  const cells = [...grid.tBodies[0].rows].flatMap((row) => [...row.cells].filter(nameOf));
  cells.forEach((cell, at) => { cell.tabIndex = at ? -1 : 0; });
  const cellOf = (event) => cells.find((cell) => cell === event.target.closest("td"));
  grid.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    if (cell) for (const each of cells) each.tabIndex = each === cell ? 0 : -1;
  });
  grid.addEventListener("dblclick", (event) => { if (cellOf(event)) edit(cellOf(event)); });
  grid.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
    (event.target === cell ? moved : typed)(event, cell);
  });
}
