// A table by source, by cluster, by turn and so on: counts, the share of each category as a bar, sortable by any
// column. Choosing a row opens its samples.

const TABLES = new WeakMap();
const CATEGORIES = ["misaligned", "redundant", "vision-critical"];

class Breakdown {
  constructor(root) {
    this.root = root;
    this.sort = { column: null, down: true };
  }

  receive(data, send) {
    this.data = data;
    this.send = send;
    const version = JSON.stringify([data, this.sort]);
    if (version !== this.version) { this.version = version; this.draw(); }
  }

  sorted() {
    const { column, down } = this.sort;
    if (column === null) return this.data.rows;
    const rank = (row) => (column === "histogram" ? row.median_visnec : column === "bar" ? (row.n_scored ? row["vision-critical"] / row.n_scored : null) : row[column]);
    return [...this.data.rows].sort((a, b) => {
      const x = rank(a), y = rank(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return (typeof x === "string" ? String(x).localeCompare(String(y)) : x - y) * (down ? -1 : 1);
    });
  }

  draw() {
    const { el } = VN;
    const focused = this.root.getRootNode().activeElement?.dataset?.column;
    const columns = this.data.columns;
    const head = (column) => el("th", { scope: "col", class: column.kind, "aria-sort": this.sort.column === column.key ? (this.sort.down ? "descending" : "ascending") : "none" },
      el("button", { type: "button", "data-column": column.key, title: column.help, onclick: () => this.order(column) }, column.kind === "bar" ? CATEGORIES.map((one) => [VN.swatch(one), `${one} \u00a0 `]) : column.label,
        el("span", { class: "arrow", "aria-hidden": "true" }, this.sort.column === column.key ? (this.sort.down ? " ↓" : " ↑") : "")));
    const table = el("table", {},
      el("caption", { class: "hidden" }, this.data.label),
      el("thead", {}, el("tr", {}, columns.map(head))),
      el("tbody", {}, this.sorted().map((row) => el("tr", { class: this.data.chosen.includes(row.key) ? "chosen" : null }, columns.map((column) => this.cell(row, column))))));
    this.root.replaceChildren(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": this.data.label }, table));
    if (focused) this.root.querySelector(`[data-column="${CSS.escape(focused)}"]`)?.focus();
  }

  cell(row, column) {
    const { el } = VN;
    const value = row[column.key];
    if (column.kind === "name") {
      return el("th", { scope: "row", class: "name" }, this.data.opens && row.opens !== false
        ? el("button", { type: "button", class: "open", title: `${value} – ${this.data.action}`, onclick: () => this.send("opened", row.key) }, value)
        : el("span", { title: value }, value));
    }
    if (column.kind === "histogram") return el("td", { class: "histogram" }, value ? this.histogram(value) : el("span", { class: "quiet" }, "–"));
    if (column.kind === "bar") return el("td", { class: "bar" }, this.bar(row));
    if (column.kind === "text") return el("td", { class: "text quiet" }, value ?? "");
    const text = { count: VN.count, score: VN.score, loss: VN.loss, share: (one) => VN.share(one, 1) }[column.kind];
    return el("td", { class: "number" }, value === null || value === undefined ? el("span", { class: "quiet" }, "–") : text(value));
  }

  // One path per category; a bin belongs to the category of its middle.
  histogram(counts) {
    const { svg } = VN;
    const { edges, low, high, cut } = this.data.limits;
    const most = Math.max(1, ...counts), height = 26, n = counts.length;
    const paths = { misaligned: "", redundant: "", "vision-critical": "" };
    counts.forEach((count, i) => {
      if (!count) return;
      const middle = (edges[i] + edges[i + 1]) / 2;
      const top = Math.max(1, (count / most) * (height - 2));
      paths[middle < low ? "misaligned" : middle < high ? "redundant" : "vision-critical"] += `M${i} ${height}v${-top}h0.92v${top}z`;
    });
    const at = ((Math.min(Math.max(cut, edges[0]), edges[n]) - edges[0]) / (edges[n] - edges[0])) * n;
    return svg("svg", { viewBox: `0 0 ${n} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      Object.entries(paths).map(([category, d]) => svg("path", { d, fill: `var(--vn-${category})` })),
      svg("line", { x1: at, x2: at, y1: 0, y2: height, class: "cut", "vector-effect": "non-scaling-stroke" }));
  }

  bar(row) {
    const { el } = VN;
    if (!row.n_scored) return el("span", { class: "quiet" }, "not scored");
    const said = CATEGORIES.map((one) => `${one} ${VN.count(row[one])} (${VN.share(row[one], row.n_scored)})`).join(", ");
    return el("span", { class: "stack", role: "img", "aria-label": said, title: said },
      CATEGORIES.map((one) => el("span", { class: one, style: { width: `${(100 * row[one]) / row.n_scored}%` } })));
  }

  order(column) {
    const same = this.sort.column === column.key;
    this.sort = { column: column.key, down: same ? !this.sort.down : column.kind !== "name" };
    this.version = null;
    this.receive(this.data, this.send);
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  if (!TABLES.has(root)) TABLES.set(root, new Breakdown(root));
  TABLES.get(root).receive(data, setTriggerValue);
}
