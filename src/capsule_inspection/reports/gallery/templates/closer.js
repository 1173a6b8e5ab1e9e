// The dialog with a large overlay and all facts of an image, in the order of the cards.
const closer = document.getElementById("closer");
let looked = null;

function table(heads, lines) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col", textContent: text })));
  const body = lines.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  return make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function part(title, content) {
  return content ? make("section", {}, make("h3", { textContent: title }), content) : null;
}

function probabilities(row) {
  const found = ranked(row);
  if (!found.length) return null;
  return table(["class", "probability", ""], found.map(([name, probability]) =>
    [make("bdi", { textContent: name }), percent(probability), meter({ fraction: probability, threshold: null })]));
}

function regions(row) {
  if (!row.regions.length) return null;
  return table(["class", "area", "across", "down", "probability"], row.regions.map((region) => {
    const [x0, y0, x1, y1] = region.box;
    const name = make("span", { className: "legend" }, swatch(region.class), make("bdi", { textContent: region.class }));
    return [name, `${number(region.area_px)} px`, `${x0} to ${x1}`, `${y0} to ${y1}`, percent(region.probability)];
  }));
}

function inWords(row) {
  if (!row.isRead) return `It was not inspected: ${row.error}`;
  if (showsProbabilities) return row.score === null ? "" : `${certainty(row)}, any defect ${percent(row.score)}`;
  if (!row.hasThreshold) return "";
  const side = row.is_defect ? "above" : "not above";
  return `The score is ${digits(row.score)}, ${side} the threshold of ${digits(row.threshold)}.`;
}

function file(row) {
  const size = row.width && row.height ? make("p", { textContent: `${row.width} x ${row.height} px` }) : null;
  const alone = make("a", { href: row.overlay ?? "", target: "_blank", textContent: "Overlay in a new tab" });
  return make("div", {}, make("p", {}, make("bdi", { textContent: row.path })), size, row.overlay ? make("p", {}, alone) : null);
}

function look(row) {
  looked = row;
  const place = matching.indexOf(row);
  const button = (id, textContent, disabled, act) => make("button", { type: "button", id, textContent, disabled, onclick: act });
  const nav = make("nav", {},
    make("span", { textContent: `${number(place + 1)} of ${number(matching.length)}` }),
    button("previous", "← Previous", place <= 0, () => step(-1)),
    button("next", "Next →", place + 1 >= matching.length, () => step(1)),
    button("close", "Close", false, () => closer.close()));
  const name = make("h2", { id: "closer-name" }, make("bdi", { textContent: row.name }));
  const facts = make("div", { className: "facts" }, part("Regions, in pixels of the image", regions(row)),
    part("Probabilities", probabilities(row)), part("File", file(row)));
  closer.className = row.kind;
  closer.replaceChildren(nav, ...[overlayImage(row, "overlay"), name, verdictLine(row, inWords(row)),
    warningsOf(row), facts].filter((node) => node !== null));
  if (!closer.open) closer.showModal();
}

function step(by) {
  const row = matching[matching.indexOf(looked) + by];
  if (!row) return;
  look(row);
  const button = document.getElementById(by < 0 ? "previous" : "next");
  (button.disabled ? document.getElementById("close") : button).focus();
  closer.scrollTop = 0;
}

closer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
closer.addEventListener("click", (event) => {
  if (event.target === closer) closer.close(); // a click beside it
});
closer.addEventListener("close", () => {
  cards.querySelector(`[data-place="${looked.place}"] .open`)?.focus();
});
