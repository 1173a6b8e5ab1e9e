// Numbers and texts of a row. Nothing here touches the page.
const { classes, colours, scoreOrder, maxScore } = JSON.parse(document.getElementById("settings").textContent);
const rows = JSON.parse(document.getElementById("rows").textContent);

// Without a threshold the class probabilities decide.
const showsProbabilities = rows.some((row) => row.probabilities !== null && row.threshold === null);

const collator = new Intl.Collator(undefined, { numeric: true });

// Cards leave out the folders that all paths share.
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
  row.searchText = row.path.normalize("NFC").toLowerCase();
  row.isRead = row.status === "ok";
  row.hasThreshold = row.score !== null && row.threshold !== null;
  row.isUnlike = row.ood_warnings.length > 0;
  row.kind = !row.isRead ? "error" : row.is_defect ? "defect" : "good";
});

const number = (count) => count.toLocaleString("en");
const counted = (count, one) => `${number(count)} ${count === 1 ? one : `${one}s`}`;
const digits = (value) => String(Number(value.toPrecision(3)));

function percent(fraction) {
  if (fraction > 0.999) return "> 99.9%";
  if (fraction < 0.001) return "< 0.1%";
  return `${(100 * fraction).toFixed(fraction > 0.99 || fraction < 0.01 ? 1 : 0)}%`;
}

function predictedClass(row) {
  if (!row.isRead) return "Not read";
  if (!row.is_defect) return "Good";
  return row.predicted_label === "defect" ? "Defect" : `Defect: ${row.predicted_label}`;
}

// Classes from the most probable one on.
const ranked = (row) => Object.entries(row.probabilities ?? {}).sort((a, b) => b[1] - a[1]);

// Probability of the predicted class; null where it is unknown.
const ofPrediction = (row) => row.probabilities?.[row.predicted_label] ?? null;

function certainty(row) {
  if (showsProbabilities) return ofPrediction(row) === null ? "" : percent(ofPrediction(row));
  return !row.hasThreshold ? "" : `score ${digits(row.score)}, threshold ${digits(row.threshold)}`;
}

// End of a bar and position of the threshold, as fractions of its length; null without a bar.
function scale(row) {
  if (showsProbabilities) return ofPrediction(row) === null ? null : { fraction: ofPrediction(row), threshold: null };
  if (!row.hasThreshold || row.threshold <= 0) return null;
  const full = maxScore ?? 2 * row.threshold;
  return { fraction: Math.min(Math.max(row.score / full, 0), 1), threshold: row.threshold / full };
}

// Distance of a prediction from the decision boundary.
function margin(row) {
  if (showsProbabilities) {
    const [first, second] = ranked(row);
    return first ? first[1] - (second ? second[1] : 0) : 0;
  }
  if (!row.hasThreshold) return 0;
  const { score, threshold } = row;
  const above = maxScore === null ? threshold : maxScore - threshold;
  return Math.abs(score - threshold) / (Math.abs(score > threshold ? above : threshold) || 1);
}

const byScore = (a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity) || a.place - b.place;
const errorsLast = (compare) => (a, b) => b.isRead - a.isRead || compare(a, b) || a.place - b.place;

// By the probability on the card: the part may certainly be defective, and its class uncertain.
const byConfidence = (a, b) => (showsProbabilities ? ofPrediction(b) - ofPrediction(a) : 0) || byScore(a, b);

// Images that need a human check come first; unread files come before good images.
function urgency(row) {
  if (row.kind === "defect") return 0;
  if (row.isUnlike) return 1;
  return row.kind === "error" ? 2 : 3;
}

const classPlace = (row) => (classes.includes(row.predicted_label) ? classes.indexOf(row.predicted_label) : classes.length);

const ORDERS = {
  urgent: ["defects first, most certain on top", (a, b) => urgency(a) - urgency(b) || (a.kind === "defect" ? byConfidence : byScore)(a, b)],
  score: [scoreOrder, errorsLast(byScore)],
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
