// Parts of pages that are asked for again by themselves (hx-swap="renew"). What has not changed stays, with its focus.
const STILL = 10 * 60 * 1000; // ms without a key or a pointer: requests without end would keep a session from ending
const KEPT = ".said, [name=once], .live path"; // what a form was answered, its own key, and lines that grow
let moved = Date.now();
let renewed = new Date();

const isLive = (element) => element.getAttribute("hx-swap") === "renew";
const isAlike = (old, fresh) => old.cloneNode(false).isEqualNode(fresh.cloneNode(false)) && old.childNodes.length === fresh.childNodes.length;

function renew(old, fresh) {
  if (old.localName === "details") fresh.open = old.open;
  if (old.isEqualNode(fresh) || (old.localName && old.matches(KEPT))) return [];
  if (isAlike(old, fresh) && old.localName) return renewInside(old, fresh);
  old.replaceWith(fresh);
  return [fresh];
}

function renewInside(old, fresh) {
  const before = [...old.childNodes];
  return [...fresh.childNodes].flatMap((each, at) => renew(before[at], each));
}

function renewPart(part, fresh) {
  if (part.getAttribute("hx-trigger") !== fresh.getAttribute("hx-trigger")) { // it is asked for at another rate, or no more
    part.replaceWith(fresh);
    return [fresh];
  }
  if (part.childNodes.length === fresh.childNodes.length) return renewInside(part, fresh);
  part.replaceChildren(...fresh.childNodes);
  return [...part.children];
}

htmx.defineExtension("renew", {
  handleSwap(style, part, answer) {
    const fresh = answer.firstElementChild;
    if (style !== "renew") return false;
    nameCells(answer);
    return fresh ? renewPart(part, fresh) : [];
  },
});

// ── when ──

for (const each of ["keydown", "pointerdown", "pointermove"]) document.addEventListener(each, () => { moved = Date.now(); }, { passive: true });

document.addEventListener("htmx:beforeRequest", (event) => {
  if (isLive(event.detail.elt) && (document.hidden || Date.now() - moved > STILL)) event.preventDefault();
});

// ── lines of the values since the page was opened, from 0 to their maximum ──

const POINTS = 120, WIDTH = 240, HEIGHT = 48, EDGE = 2; // as in charts.py
const values = new WeakMap(); // by path

function grow() {
  for (const chart of document.querySelectorAll(".chart.live")) {
    const line = find("path", chart);
    const known = [...(values.get(line) ?? []), Number(find("data", chart).value)].slice(-POINTS);
    const most = Math.max(...known) || 1;
    const points = known.map((value, at) => `${(WIDTH - (known.length - 1 - at) * WIDTH / (POINTS - 1)).toFixed(1)} ${(HEIGHT - EDGE - value / most * (HEIGHT - 2 * EDGE)).toFixed(1)}`);
    values.set(line, known);
    line.setAttribute("d", `M${points[0]}L${points.join("L")}`); // one value is a dot
  }
}

grow();
document.addEventListener("htmx:afterSwap", ({ detail }) => { if (isLive(detail.requestConfig.elt)) grow(); });

// ── a server that does not answer: what is seen is grey, until it does ──

function age(isOld) {
  const seen = document.documentElement.classList;
  if (isOld && !seen.contains("old")) say(`The console does not answer. This is of ${renewed.toLocaleTimeString("en-GB")}.`);
  if (!isOld) renewed = new Date();
  seen.toggle("old", isOld);
}

// htmx drops the answer to a form that has been replaced meanwhile; the next renewal comes soon.
const isWaitedIn = (part, live) => [...part.querySelectorAll(".htmx-request")].some((each) => each !== live);

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const live = detail.requestConfig.elt;
  if (!isLive(live)) return;
  if (detail.xhr.status >= 400 || isWaitedIn(detail.target, live)) detail.shouldSwap = false;
  age(detail.xhr.status >= 400);
});
document.addEventListener("htmx:sendError", ({ detail }) => {
  if (isLive(detail.requestConfig.elt)) age(true);
  else say("The console is not reachable. Nothing was changed.");
});

// ── a session of a user, which ends without requests ──

const WARNED = 2 * 60 * 1000, LOOKED = 15 * 1000; // ms
const idle = Number(document.body.dataset.idle) * 60 * 1000;
const warning = find("#idle");

function used() { // for the other tabs, too
  localStorage.setItem("used", Date.now());
  if (warning) warning.hidden = true;
}

used();
document.addEventListener("htmx:afterRequest", ({ detail }) => { if (detail.successful) used(); });
if (idle) setInterval(() => { warning.hidden = Number(localStorage.getItem("used")) + idle - Date.now() > WARNED; }, LOOKED);
warning?.addEventListener("click", async () => {
  const answer = await fetch(location.href, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (answer?.ok) used();
});
