// A table by source, cluster, turn and so on: counts, and the share of each category as a bar. Sortable by
// any column; choosing a row opens its samples.

const TABLES = new WeakMap();
const CATEGORIES = ["misaligned", "redundant", "vision-critical"];
const HISTOGRAM_HEIGHT = 26;

class Breakdown {
  constructor(root) {
    this.root = root;
    this.sort = { column: null, isDown: true };
  }

  receive(data, send) {
    this.data = data;
    this.send = send;
    const version = JSON.stringify([data, this.sort]);
    if (version === this.version) return;
    this.version = version;
    this.draw();
  }

  sortedRows() {
    const { column, isDown } = this.sort;
    if (column === null) return this.data.rows;
    const valueOf = (row) => {
      if (column === "histogram") return row.median_visnec;
      if (column === "bar") return row.n_scored ? row["vision-critical"] / row.n_scored : null;
      return row[column];
    };
    return [...this.data.rows].sort((a, b) => {
      const x = valueOf(a), y = valueOf(b);
      if (x === null || y === null) return Number(x === null) - Number(y === null);
      return (typeof x === "string" ? x.localeCompare(String(y)) : x - y) * (isDown ? -1 : 1);
    });
  }

  draw() {
    const { el } = VN, { columns, label, chosen } = this.data;
    const focused = this.root.getRootNode().activeElement?.dataset?.column;
    const row = (values) => el("tr", { class: chosen.includes(values.key) ? "chosen" : null },
      columns.map((column) => this.renderCell(values, column)));
    const table = el("table", {},
      el("caption", { class: "hidden" }, label),
      el("thead", {}, el("tr", {}, columns.map((column) => this.renderHead(column)))),
      el("tbody", {}, this.sortedRows().map(row)));
    this.root.replaceChildren(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table));
    if (focused) this.root.querySelector(`[data-column="${CSS.escape(focused)}"]`)?.focus();
  }

  renderHead(column) {
    const { el } = VN, { isDown } = this.sort;
    const isSorted = this.sort.column === column.key;
    const sorting = isSorted ? (isDown ? "descending" : "ascending") : "none";
    const name = column.kind === "bar"
      ? CATEGORIES.map((category) => [VN.swatch(category), `${category} \u00a0 `]) : column.label;
    const arrow = el("span", { class: "arrow", "aria-hidden": "true" }, isSorted ? (isDown ? " ↓" : " ↑") : "");
    const onclick = () => this.sortBy(column);
    return el("th", { scope: "col", class: column.kind, "aria-sort": sorting },
      el("button", { type: "button", "data-column": column.key, title: column.help, onclick }, name, arrow));
  }

  renderCell(row, column) {
    const { el } = VN;
    const value = row[column.key];
    const none = () => el("span", { class: "quiet" }, "–");
    if (column.kind === "name") return this.renderName(row, value);
    if (column.kind === "histogram") {
      return el("td", { class: "histogram" }, value ? this.renderHistogram(value) : none());
    }
    if (column.kind === "bar") return el("td", { class: "bar" }, this.renderBar(row));
    if (column.kind === "text") return el("td", { class: "text quiet" }, value ?? "");
    const format = { count: VN.count, score: VN.score, loss: VN.loss, share: (x) => VN.share(x, 1) }[column.kind];
    return el("td", { class: "number" }, value === null || value === undefined ? none() : format(value));
  }

  renderName(row, name) {
    const { el } = VN;
    const title = `${name} – ${this.data.action}`, onclick = () => this.send("opened", row.key);
    const content = this.data.opens && row.opens !== false
      ? el("button", { type: "button", class: "open", title, onclick }, name) : el("span", { title: name }, name);
    return el("th", { scope: "row", class: "name" }, content);
  }

  // One path per category; a bin belongs to the category of its middle.
  renderHistogram(counts) {
    const { svg } = VN;
    const { edges, low, high, cut } = this.data.limits;
    const most = Math.max(1, ...counts), height = HISTOGRAM_HEIGHT, n = counts.length;
    const paths = Object.fromEntries(CATEGORIES.map((category) => [category, ""]));
    counts.forEach((count, i) => {
      if (!count) return;
      const top = Math.max(1, (count / most) * (height - 2));
      paths[VN.categoryOf((edges[i] + edges[i + 1]) / 2, low, high)] += `M${i} ${height}v${-top}h0.92v${top}z`;
    });
    const x = ((Math.min(Math.max(cut, edges[0]), edges[n]) - edges[0]) / (edges[n] - edges[0])) * n;
    const line = { x1: x, x2: x, y1: 0, y2: height, class: "cut", "vector-effect": "non-scaling-stroke" };
    return svg("svg", { viewBox: `0 0 ${n} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      Object.entries(paths).map(([category, d]) => svg("path", { d, fill: `var(--vn-${category})` })),
      svg("line", line));
  }

  renderBar(row) {
    const { el } = VN;
    if (!row.n_scored) return el("span", { class: "quiet" }, "not scored");
    const share = (category) => `${category} ${VN.count(row[category])} (${VN.share(row[category], row.n_scored)})`;
    const label = CATEGORIES.map(share).join(", ");
    const width = (category) => `${(100 * row[category]) / row.n_scored}%`;
    const piece = (category) => el("span", { class: category, style: { width: width(category) } });
    return el("span", { class: "stack", role: "img", "aria-label": label, title: label }, CATEGORIES.map(piece));
  }

  sortBy(column) {
    const isSame = this.sort.column === column.key;
    this.sort = { column: column.key, isDown: isSame ? !this.sort.isDown : column.kind !== "name" };
    this.receive(this.data, this.send);
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  if (!TABLES.has(root)) TABLES.set(root, new Breakdown(root));
  TABLES.get(root).receive(data, setTriggerValue);
}
