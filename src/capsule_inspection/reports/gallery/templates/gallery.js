// Filters and sorting, and the matching cards, one page at a time.
const PAGE_OF_CARDS = 60;
const byId = (id) => document.getElementById(id);
const [cards, kinds, classChoice, orderChoice, search] = ["cards", "kinds", "class", "order", "search"].map(byId);
let matching = [];
let shown = 0;
let kind = "all";

function choose() {
  const sought = search.value.trim().normalize("NFC").toLowerCase();
  const [, isOfKind] = KINDS[kind];
  const isOfClass = classChoice.selectedIndex === 0 ? () => true : (row) => row.predicted_label === classChoice.value;
  matching = rows.filter((row) => isOfKind(row) && isOfClass(row) && row.searchText.includes(sought));
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

function offerKinds() {
  for (const [id, [name, isOfKind]] of Object.entries(KINDS)) {
    const button = make("button", { type: "button", textContent: `${name} ${number(rows.filter(isOfKind).length)}` });
    button.dataset.kind = id;
    button.setAttribute("aria-pressed", id === kind);
    button.addEventListener("click", () => {
      kind = id;
      for (const other of kinds.children) other.setAttribute("aria-pressed", other === button);
      choose();
    });
    kinds.append(button);
  }
}

function offerChoices() {
  const found = new Map(classes.map((name) => [name, 0]));
  for (const row of rows) if (row.isRead) found.set(row.predicted_label, (found.get(row.predicted_label) ?? 0) + 1);
  classChoice.append(make("option", { value: "", textContent: "any" }));
  for (const [name, count] of found) {
    if (count) classChoice.append(make("option", { value: name, textContent: `${name} (${number(count)})` }));
  }
  classChoice.parentElement.hidden = classChoice.options.length <= 3; // good and one other: as the buttons
  for (const [id, [name]] of Object.entries(ORDERS)) orderChoice.append(make("option", { value: id, textContent: name }));
}

offerKinds();
offerChoices();
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
byId("controls").hidden = false;
choose();
