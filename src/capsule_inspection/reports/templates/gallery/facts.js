// What is known of a row, in numbers and in words. Nothing here touches the page.
const { task, classes, colours } = JSON.parse(document.getElementById("settings").textContent);
const rows = JSON.parse(document.getElementById("rows").textContent);

const collator = new Intl.Collator(undefined, { numeric: true });

// Folders that all paths share tell nothing: cards leave them out.
const shared = (() => {
  if (!rows.length) return 0;
  const first = rows[0].path;
  let length = first.search(/[^/\\]*$/);
  for (const row of rows) {
    while (!row.path.startsWith(first.slice(0, length))) length = first.slice(0, length - 1).search(/[^/\\]*$/);
  }
  return length;
})();

rows.forEach((row, place) => {
  row.place = place;
  row.name = row.path.slice(shared);
  row.sought = row.path.normalize("NFC").toLowerCase();
  row.isRead = row.status === "ok";
  row.isJudged = row.score !== null && row.threshold !== null;
  row.isUnlike = row.remarks.length > 0;
  row.kind = !row.isRead ? "error" : row.is_defect ? "defect" : "good";
});

const number = (count) => count.toLocaleString("en");
const counted = (count, one) => `${number(count)} ${count === 1 ? one : `${one}s`}`;
const digits = (value) => String(Number(value.toPrecision(3)));

function percent(share) {
  if (share > 0.999) return "> 99.9%";
  if (share < 0.001) return "< 0.1%";
  return `${(100 * share).toFixed(share > 0.99 || share < 0.01 ? 1 : 0)}%`;
}

function verdict(row) {
  if (!row.isRead) return "Not read";
  if (!row.is_defect) return "Good";
  return row.prediction === "defect" ? "Defect" : `Defect: ${row.prediction}`;
}

// Classes from the most probable one on.
const ranked = (row) => Object.entries(row.probabilities ?? {}).sort((a, b) => b[1] - a[1]);

// How sure a classifier is of the name that it gives; null where it is not known.
const ofName = (row) => row.probabilities?.[row.prediction] ?? null;

function certainty(row) {
  if (task === "classification") return ofName(row) === null ? "" : percent(ofName(row));
  return !row.isJudged ? "" : `score ${digits(row.score)}, threshold ${digits(row.threshold)}`;
}

// Where a bar ends and where its mark stands, as shares of its length; null where none is of use.
function scale(row) {
  if (task === "classification") return ofName(row) === null ? null : { share: ofName(row), mark: null };
  if (!row.isJudged || row.threshold <= 0) return null;
  const full = task === "segmentation" ? 1 : 2 * row.threshold;
  return { share: Math.min(Math.max(row.score / full, 0), 1), mark: row.threshold / full };
}

// How far an answer is from its opposite: 0 is a toss-up.
function margin(row) {
  if (task === "classification") {
    const [first, second] = ranked(row);
    return first ? first[1] - (second ? second[1] : 0) : 0;
  }
  if (!row.isJudged) return 0;
  const { score, threshold } = row;
  const above = task === "segmentation" ? 1 - threshold : threshold;
  return Math.abs(score - threshold) / (Math.abs(score > threshold ? above : threshold) || 1);
}

const byScore = (a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity) || a.place - b.place;
const errorsLast = (compare) => (a, b) => b.isRead - a.isRead || compare(a, b) || a.place - b.place;

// By what a card shows: a part may surely be defective, and its name be a guess.
const bySureness = (a, b) => (task === "classification" ? ofName(b) - ofName(a) : 0) || byScore(a, b);

// What needs a person comes first; a file that was not read was not inspected, so before the good.
function urgency(row) {
  if (row.kind === "defect") return 0;
  if (row.isUnlike) return 1;
  return row.kind === "error" ? 2 : 3;
}

const classPlace = (row) => (classes.includes(row.prediction) ? classes.indexOf(row.prediction) : classes.length);

const SCORES = {
  classification: "any defect, most probable first",
  reconstruction: "score, least like a good part first",
  segmentation: "score, highest first",
};
const ORDERS = {
  urgent: ["defects first, surest on top", (a, b) => urgency(a) - urgency(b) || (a.kind === "defect" ? bySureness : byScore)(a, b)],
  score: [SCORES[task], errorsLast(byScore)],
  unsure: ["least certain first", errorsLast((a, b) => margin(a) - margin(b))],
  class: ["class", errorsLast((a, b) => classPlace(a) - classPlace(b) || byScore(a, b))],
  name: ["name", (a, b) => collator.compare(a.path, b.path) || a.place - b.place],
};
const KINDS = {
  all: ["All", () => true],
  defect: ["Defects", (row) => row.kind === "defect"],
  unlike: ["Unlike training", (row) => row.isUnlike],
  error: ["Not read", (row) => row.kind === "error"],
  good: ["Good", (row) => row.kind === "good"],
};
