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
  node.style.setProperty("--share", place.share);
  if (place.mark !== null) {
    node.style.setProperty("--mark", place.mark);
    node.append(make("b"));
  }
  return node;
}

function verdictLine(row, told) {
  const badge = make("span", { className: "badge" }, row.is_defect ? swatch(row.prediction) : null,
    make("bdi", { textContent: verdict(row) }));
  return make("p", { className: "verdict" }, badge, make("span", { className: task, textContent: told }));
}

function remarksOf(row) {
  if (!row.isUnlike) return null;
  const items = row.remarks.map((remark) => make("li", { textContent: remark }));
  return make("div", { className: "remarks" },
    make("strong", { textContent: "Unlike training photographs" }), make("ul", {}, ...items));
}

function picture(row, className) {
  if (row.overlay === null) return null;
  const image = make("img", { className, loading: "lazy", decoding: "async" });
  image.alt = `${row.name}, with the answer drawn on it`;
  image.addEventListener("load", takeAspect, { once: true });
  image.addEventListener("error", () => image.replaceWith(
    make("span", { className: "name note", textContent: "The picture is missing." })), { once: true });
  image.src = row.overlay;
  return image;
}

// All pictures of a run have one size: the first that is there tells all cards.
function takeAspect(event) {
  const { naturalWidth, naturalHeight } = event.target;
  document.body.style.setProperty("--aspect", `${naturalWidth} / ${naturalHeight}`);
}

const MOST_REGIONS = 3;
const SECOND_FROM = 0.1;

// The regions of a marked part, or what else a classifier thinks of.
function detail(row) {
  if (!row.isRead) return row.error;
  if (row.regions.length) {
    const largest = [...row.regions].sort((a, b) => b.area_px - a.area_px);
    const told = largest.slice(0, MOST_REGIONS).map((region) => `${region.class} ${number(region.area_px)} px`);
    const left = row.regions.length - told.length;
    return `${counted(row.regions.length, "region")}: ${told.join(", ")}${left ? ` and ${left} more` : ""}`;
  }
  if (task !== "classification" || row.score === null) return null;
  const second = ranked(row)[1];
  const also = second && second[1] >= SECOND_FROM ? `, second ${second[0]} ${percent(second[1])}` : "";
  return `any defect ${percent(row.score)}${also}`;
}

function card(row) {
  const name = make("bdi", { className: "name", textContent: row.name, title: row.path });
  const open = make("button", { type: "button", className: "open" }, picture(row, ""), name);
  open.setAttribute("aria-haspopup", "dialog");
  const told = detail(row);
  const node = make("li", { className: `card ${row.kind}` }, open, verdictLine(row, certainty(row)), meter(scale(row)),
    told ? make("p", { textContent: told }) : null, remarksOf(row));
  node.dataset.place = row.place;
  return node;
}
