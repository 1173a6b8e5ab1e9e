// What every page can do: contents, tables that sort, images that open large, commands that copy.

// The contents are a menu on narrow screens, and mark the section in view.
const contents = document.querySelector(".contents");
if (contents) {
  const menu = contents.querySelector("details");
  const narrow = window.matchMedia("(max-width: 60rem)");
  const adapt = () => { menu.open = !narrow.matches; };
  narrow.addEventListener("change", adapt);
  adapt();
  const links = [...contents.querySelectorAll("a")];
  contents.addEventListener("click", (event) => {
    if (narrow.matches && event.target.closest("a")) menu.open = false;
  });
  const targets = links.map((link) => document.getElementById(link.hash.slice(1)));
  const markSection = () => {
    const passed = targets.filter((target) => target && target.getBoundingClientRect().top < 120);
    const atEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 2;
    const current = atEnd ? targets.at(-1) : passed.at(-1) ?? targets[0];
    links.forEach((link, i) => {
      if (targets[i] === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  };
  document.addEventListener("scroll", markSection, { passive: true });
  markSection();
}

// Tables sort by a column: numbers before texts, texts by the alphabet.
function sortBy(table, column, ascending) {
  const valueOf = (row) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const compare = (a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    const order = typeof x === "number" ? x - y : x.localeCompare(y);
    return ascending ? order : -order;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    sortBy(table, column, ascending);
  }));
}

// Images open large in a dialog: arrows go on, Escape closes, a click shows the natural size.
const zoomable = [...document.querySelectorAll(".zoom")];
if (zoomable.length) {
  const box = document.createElement("dialog");
  box.className = "lightbox";
  box.setAttribute("aria-label", "Enlarged image");
  const make = (tag, properties, parent) => {
    const element = Object.assign(document.createElement(tag), properties);
    parent.append(element);
    return element;
  };
  const bar = make("div", { className: "lightbox-bar" }, box);
  const caption = make("p", {}, bar);
  caption.setAttribute("role", "status");
  const view = make("div", { className: "lightbox-view", tabIndex: 0 }, box);
  view.setAttribute("role", "group");
  view.setAttribute("aria-label", "Image");
  const image = make("img", { alt: "" }, view);
  let shown = 0;
  const show = (index) => {
    shown = (index + zoomable.length) % zoomable.length;
    const source = zoomable[shown].querySelector("img");
    [image.src, image.alt] = [source.src, source.alt];
    caption.textContent = `${shown + 1} of ${zoomable.length}: ${source.alt}`;
    view.classList.remove("natural");
  };
  const act = (textContent, action) => {
    make("button", { type: "button", textContent }, bar).addEventListener("click", action);
  };
  const toggleSize = () => view.classList.toggle("natural");
  act("Previous", () => show(shown - 1));
  act("Next", () => show(shown + 1));
  act("Actual size", toggleSize);
  act("Close", () => box.close());
  image.addEventListener("click", toggleSize);
  box.addEventListener("keydown", (event) => {
    if (view.classList.contains("natural")) return;
    if (event.key === "ArrowRight") show(shown + 1);
    if (event.key === "ArrowLeft") show(shown - 1);
  });
  box.addEventListener("close", () => zoomable[shown].focus());
  zoomable.forEach((button, index) => button.addEventListener("click", () => {
    show(index);
    box.showModal();
  }));
  document.body.append(box);
}

// Commands are copied; where the browser forbids it, they are selected.
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      window.getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });
}

// On paper everything is open.
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("main details").forEach((details) => { details.open = true; });
});
