// One card for a row. Text goes in as text, never as markup.
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function swatch(name) {
  if (!Object.hasOwn(colours, name)) return null;
  const node = make("span", { className: "swatch" });
  node.style.background = colours[name];
  return node;
}

function meter(place) {
  if (!place) return null;
  const node = make("div", { className: "meter" }, make("i"));
  node.setAttribute("aria-hidden", "true");
  node.style.setProperty("--fraction", place.fraction);
  if (place.threshold !== null) {
    node.style.setProperty("--threshold", place.threshold);
    node.append(make("b"));
  }
  return node;
}

function verdictLine(row, certainty) {
  const badge = make("span", { className: "badge" }, row.is_defect ? swatch(row.predicted_label) : null,
    make("bdi", { textContent: predictedClass(row) }));
  return make("p", { className: "verdict" }, badge, make("span", { className: showsProbabilities ? "" : "score", textContent: certainty }));
}

function warningsOf(row) {
  if (!row.isUnlike) return null;
  const items = row.ood_warnings.map((warning) => make("li", { textContent: warning }));
  return make("div", { className: "ood_warnings" },
    make("strong", { textContent: "Unlike training images" }), make("ul", {}, ...items));
}

function overlayImage(row, className) {
  if (row.overlay === null) return null;
  const image = make("img", { className, loading: "lazy", decoding: "async" });
  image.alt = `${row.name}, with the prediction drawn on it`;
  image.addEventListener("load", takeAspect, { once: true });
  image.addEventListener("error", () => image.replaceWith(
    make("span", { className: "name note", textContent: "The overlay is missing." })), { once: true });
  image.src = row.overlay;
  return image;
}

// All overlays of a run have one size: the first one sets that of all cards.
function takeAspect(event) {
  const { naturalWidth, naturalHeight } = event.target;
  document.body.style.setProperty("--aspect", `${naturalWidth} / ${naturalHeight}`);
}

const MAX_REGIONS = 3;
const MIN_SECOND_PROBABILITY = 0.1;

// The predicted regions, or the second most probable class.
function detail(row) {
  if (!row.isRead) return row.error;
  if (row.regions.length) {
    const largest = [...row.regions].sort((a, b) => b.area_px - a.area_px);
    const largestTexts = largest.slice(0, MAX_REGIONS).map((region) => `${region.class} ${number(region.area_px)} px`);
    const left = row.regions.length - largestTexts.length;
    return `${counted(row.regions.length, "region")}: ${largestTexts.join(", ")}${left ? ` and ${left} more` : ""}`;
  }
  if (!showsProbabilities || row.score === null) return null;
  const second = ranked(row)[1];
  const also = second && second[1] >= MIN_SECOND_PROBABILITY ? `, second ${second[0]} ${percent(second[1])}` : "";
  return `any defect ${percent(row.score)}${also}`;
}

function card(row) {
  const name = make("bdi", { className: "name", textContent: row.name, title: row.path });
  const open = make("button", { type: "button", className: "open" }, overlayImage(row, ""), name);
  open.setAttribute("aria-haspopup", "dialog");
  const text = detail(row);
  const node = make("li", { className: `card ${row.kind}` }, open, verdictLine(row, certainty(row)), meter(scale(row)),
    text ? make("p", { textContent: text }) : null, warningsOf(row));
  node.dataset.place = row.place;
  return node;
}
