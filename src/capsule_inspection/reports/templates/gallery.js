// Rows and settings. A row is a line of predictions.jsonl with `is_near`: near the threshold.
const byId = (id) => document.getElementById(id);
const settings = JSON.parse(byId("settings").textContent);
const rows = JSON.parse(byId("rows").textContent);

const number = (count) => count.toLocaleString("en");
const counted = (count, one) => `${number(count)} ${count === 1 ? one : `${one}s`}`;
const digits = (value) => String(Number(value.toPrecision(3)));
function percent(fraction) {
  if (fraction > 0.999) return "> 99.9%";
  if (fraction < 0.001) return "< 0.1%";
  return `${(100 * fraction).toFixed(fraction > 0.99 || fraction < 0.01 ? 1 : 0)}%`;
}

// Cards leave out the folders that all paths share.
let shared = rows.length ? rows[0].path.search(/[^/\\]*$/) : 0;
for (const row of rows) {
  while (!row.path.startsWith(rows[0].path.slice(0, shared))) {
    shared = rows[0].path.slice(0, shared - 1).search(/[^/\\]*$/);
  }
}
rows.forEach((row, place) => {
  row.place = place;
  row.name = row.path.slice(shared);
  row.searchText = row.path.normalize("NFC").toLowerCase();
  row.isRead = row.status === "ok";
  row.isUnlike = row.ood_warnings.length > 0;
  row.kind = !row.isRead ? "error" : row.is_defect ? "defect" : "good";
  row.limit = row.threshold ?? (settings.showsProbabilities ? 0.5 : null);
});

// Classes from the most probable one on.
const ranked = (row) => Object.entries(row.probabilities ?? {}).sort((a, b) => b[1] - a[1]);

function predictedClass(row) {
  if (!row.isRead) return "Not read";
  if (!row.is_defect) return "Good";
  return row.predicted_label === "defect" ? "Defect" : `Defect: ${row.predicted_label}`;
}

function scoreText(row) {
  if (row.score === null) return "";
  const [what, unit] = settings.showsProbabilities ? ["any defect", "%"] : ["score", ""];
  const values = row.threshold === null ? [row.score] : [row.score, row.threshold];
  let [score, threshold] = values.map(unit ? percent : digits);
  // As many digits as tell the score from the threshold.
  for (let count = 3; score === threshold && count < 7; count++) {
    const precise = (value) => `${Number(((unit ? 100 : 1) * value).toPrecision(count))}${unit}`;
    [score, threshold] = values.map(precise);
  }
  return `${what} ${score}${threshold === undefined ? "" : `, threshold ${threshold}`}`;
}

// The largest regions, or the most probable classes.
function detail(row) {
  if (!row.isRead) return row.error;
  if (row.regions.length) {
    const largest = [...row.regions].sort((a, b) => b.area_px - a.area_px).slice(0, 3);
    const more = row.regions.length - largest.length;
    const texts = largest.map((region) => `${region.class} ${number(region.area_px)} px`).join(", ");
    return `${counted(row.regions.length, "region")}: ${texts}${more ? ` and ${more} more` : ""}`;
  }
  if (!settings.showsProbabilities) return "";
  const likely = ranked(row).filter(([name, p]) => p >= 0.1 || name === row.predicted_label);
  return likely.slice(0, 3).map(([name, probability]) => `${name} ${percent(probability)}`).join(", ");
}

// Distance from the threshold, as a fraction of its side of the scale.
function margin(row) {
  if (row.score === null || row.limit === null) return Infinity;
  const above = settings.maxScore === null ? row.limit : settings.maxScore - row.limit;
  return Math.abs(row.score - row.limit) / (Math.abs(row.score > row.limit ? above : row.limit) || 1);
}

const collator = new Intl.Collator(undefined, { numeric: true });
const byScore = (a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity) || a.place - b.place;
const errorsLast = (compare) => (a, b) => b.isRead - a.isRead || compare(a, b) || a.place - b.place;
const urgency = (row) => (row.kind === "defect" ? 0 : row.isUnlike ? 1 : row.is_near ? 2 : row.isRead ? 4 : 3);
const classPlace = (row) => (settings.classes.indexOf(row.predicted_label) + settings.classes.length + 1) % (settings.classes.length + 1);
const ORDERS = {
  urgent: ["what needs a check first", (a, b) => urgency(a) - urgency(b) || byScore(a, b)],
  score: [settings.scoreOrder, errorsLast(byScore)],
  unsure: ["nearest to the threshold", errorsLast((a, b) => margin(a) - margin(b))],
  class: ["class", errorsLast((a, b) => classPlace(a) - classPlace(b) || byScore(a, b))],
  name: ["name", (a, b) => collator.compare(a.path, b.path) || a.place - b.place],
};
const KINDS = {
  all: ["All", () => true],
  defect: ["Defects", (row) => row.kind === "defect"],
  near: ["Near the threshold", (row) => row.is_near],
  unlike: ["Unlike training", (row) => row.isUnlike],
  error: ["Not read", (row) => row.kind === "error"],
  good: ["Good", (row) => row.kind === "good"],
};

// Elements. Text goes in as text, never as markup.
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child));
  return node;
}

function swatch(name) {
  if (!Object.hasOwn(settings.colours, name)) return null;
  const node = make("span", { className: "swatch" });
  node.style.background = settings.colours[name];
  return node;
}

function meter(fraction, threshold = null) {
  const node = make("div", { className: "meter" }, make("i"), threshold === null ? null : make("b"));
  node.setAttribute("aria-hidden", "true");
  node.style.setProperty("--fraction", Math.min(Math.max(fraction, 0), 1));
  node.style.setProperty("--threshold", threshold ?? 0);
  return node;
}

function scoreMeter(row) {
  if (row.score === null || row.limit === null || row.limit <= 0) return null;
  const full = settings.maxScore ?? 2 * row.limit;
  return meter(row.score / full, row.threshold === null ? null : row.threshold / full);
}

function verdictLine(row) {
  const kind = { defect: "bad", good: "good", error: "caution" }[row.kind];
  const badge = make("span", { className: `badge ${kind}` }, row.is_defect ? swatch(row.predicted_label) : null,
    make("bdi", { textContent: predictedClass(row) }));
  const near = row.is_near ? make("span", { className: "badge caution", textContent: "near the threshold" }) : null;
  return make("p", { className: "decision" }, badge, near, make("span", { className: "score", textContent: scoreText(row) }));
}

function warnings(row) {
  if (!row.isUnlike) return null;
  const items = row.ood_warnings.map((text) => make("li", { textContent: text }));
  return make("div", { className: "caveat" }, make("span", { textContent: "⚠ Unlike training images" }), make("ul", {}, ...items));
}

// All overlays of a run have one size: the first one sets that of all cards.
function overlay(row) {
  if (row.overlay === null) return null;
  const image = make("img", { loading: "lazy", decoding: "async", alt: `${row.name}, with the prediction drawn on it` });
  image.addEventListener("load", () => {
    document.body.style.setProperty("--aspect", `${image.naturalWidth} / ${image.naturalHeight}`);
  }, { once: true });
  image.addEventListener("error", () => image.replaceWith(make("span", { className: "note", textContent: "The overlay is missing." })), { once: true });
  image.src = row.overlay;
  return image;
}

function card(row) {
  const name = make("bdi", { className: "name", textContent: row.name, title: row.path });
  const open = make("button", { type: "button", className: "open" }, overlay(row), name);
  open.setAttribute("aria-haspopup", "dialog");
  const node = make("li", { className: `card ${row.kind}` }, open, verdictLine(row), scoreMeter(row),
    make("p", { textContent: detail(row) }), warnings(row));
  node.dataset.place = row.place;
  return node;
}

// Filters and order, and the matching cards, one page at a time.
const PAGE_OF_CARDS = 60;
const [cards, kinds, classChoice, orderChoice, search] = ["cards", "kinds", "class", "order", "search"].map(byId);
let matching = [];
let shown = 0;
let kind = "all";

function choose() {
  const sought = search.value.trim().normalize("NFC").toLowerCase();
  const isOfClass = classChoice.selectedIndex ? (row) => row.predicted_label === classChoice.value : () => true;
  matching = rows.filter((row) => KINDS[kind][1](row) && isOfClass(row) && row.searchText.includes(sought));
  matching.sort(ORDERS[orderChoice.value][1]);
  cards.replaceChildren();
  shown = 0;
  showMore();
}

function showMore() {
  cards.append(...matching.slice(shown, shown + PAGE_OF_CARDS).map(card));
  shown = Math.min(shown + PAGE_OF_CARDS, matching.length);
  const left = matching.length - shown;
  byId("rest").hidden = left === 0;
  byId("more").textContent = `Show ${Math.min(left, PAGE_OF_CARDS)} more (${number(left)} left)`;
  const among = matching.length < rows.length ? `${number(matching.length)} of ` : "";
  const first = left ? `, the first ${number(shown)} are shown` : "";
  byId("count").textContent = matching.length ? `${among}${counted(rows.length, "image")}${first}` : "No image matches.";
}

for (const [id, [name, isOfKind]] of Object.entries(KINDS)) {
  const count = rows.filter(isOfKind).length;
  if (!count && id !== "all") continue;
  const button = make("button", { type: "button", className: "button", textContent: `${name} ${number(count)}` });
  button.setAttribute("aria-pressed", id === kind);
  button.addEventListener("click", () => {
    kind = id;
    for (const other of kinds.children) other.setAttribute("aria-pressed", other === button);
    choose();
  });
  kinds.append(button);
}
const found = new Map(settings.classes.map((name) => [name, 0]));
for (const row of rows) if (row.isRead) found.set(row.predicted_label, (found.get(row.predicted_label) ?? 0) + 1);
classChoice.append(make("option", { value: "", textContent: "any" }));
for (const [name, count] of found) {
  if (count) classChoice.append(make("option", { value: name, textContent: `${name} (${number(count)})` }));
}
classChoice.parentElement.hidden = classChoice.options.length <= 3; // good and one other: as the buttons
for (const [id, [name]] of Object.entries(ORDERS)) orderChoice.append(make("option", { value: id, textContent: name }));
for (const choice of [classChoice, orderChoice]) choice.addEventListener("change", choose);
search.addEventListener("input", choose);
byId("more").addEventListener("click", () => {
  const first = shown;
  showMore();
  cards.children[first].querySelector(".open").focus();
});
cards.addEventListener("click", (event) => {
  const clicked = event.target.closest(".card");
  const isSelecting = !event.target.closest(".open") && !getSelection().isCollapsed;
  if (clicked && !isSelecting) look(rows[clicked.dataset.place]);
});

// The dialog with a large overlay and all facts of an image, in the order of the cards.
const closer = byId("closer");
let looked = null;

function table(title, heads, lines) {
  if (!lines.length) return null;
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col", textContent: text })));
  const body = lines.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  return make("section", {}, make("h3", { textContent: title }),
    make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body))));
}

function look(row) {
  looked = row;
  const place = matching.indexOf(row);
  const button = (id, textContent, disabled, act) => make("button", { type: "button", className: "button", id, textContent, disabled, onclick: act });
  const bar = make("nav", {}, make("span", { className: "note", textContent: `${number(place + 1)} of ${number(matching.length)}` }),
    button("previous", "← Previous", place <= 0, () => step(-1)), button("next", "Next →", place + 1 >= matching.length, () => step(1)),
    button("close", "Close", false, () => closer.close()));
  const regions = row.regions.map((region) => {
    const [x0, y0, x1, y1] = region.box;
    const name = make("span", { className: "legend" }, swatch(region.class), make("bdi", { textContent: region.class }));
    return [name, `${number(region.area_px)} px`, `${x0} to ${x1}`, `${y0} to ${y1}`, percent(region.probability)];
  });
  const probabilities = ranked(row).map(([name, probability]) =>
    [make("bdi", { textContent: name }), make("div", {}, percent(probability), meter(probability))]);
  const size = row.width && row.height ? make("p", { textContent: `${row.width} x ${row.height} px` }) : null;
  const alone = row.overlay ? make("a", { href: row.overlay, target: "_blank", textContent: "Overlay in a new tab" }) : null;
  const file = make("section", {}, make("h3", { textContent: "File" }), make("p", {}, make("bdi", { textContent: row.path })), size, alone);
  const error = row.isRead ? null : make("p", { textContent: `It was not inspected: ${row.error}` });
  const facts = make("div", { className: "facts" },
    table("Regions, in pixels of the image", ["class", "area", "across", "down", "probability"], regions),
    table("Probabilities", ["class", "probability"], probabilities), file);
  const title = make("h2", { id: "closer-name" }, make("bdi", { textContent: row.name }));
  closer.className = row.kind;
  closer.replaceChildren(...[bar, overlay(row), title, verdictLine(row), error, warnings(row), facts].filter((node) => node));
  if (!closer.open) closer.showModal();
}

function step(by) {
  const row = matching[matching.indexOf(looked) + by];
  if (!row) return;
  look(row);
  const button = byId(by < 0 ? "previous" : "next");
  (button.disabled ? byId("close") : button).focus();
  closer.scrollTop = 0;
}

closer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
closer.addEventListener("click", (event) => {
  if (event.target === closer) closer.close(); // a click beside it
});
closer.addEventListener("close", () => cards.querySelector(`[data-place="${looked.place}"] .open`)?.focus());

byId("controls").hidden = false;
choose();
