// A table by source, cluster, turn and so on: counts, and the share of each category as a bar. Sortable by
// any column; choosing a row opens its samples.

class Breakdown extends Widget {
  sort = { column: null, isDown: true };
  receive() { if (this.isNew([this.data, this.sort])) this.draw(); }

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
    const { columns, label, chosen } = this.data;
    const focused = this.root.getRootNode().activeElement?.dataset?.column;
    const row = (values) => el("tr", { class: chosen.includes(values.key) ? "chosen" : null },
      columns.map((column) => this.renderCell(values, column)));
    const table = el("table", {},
      el("caption", "hidden", label),
      el("thead", {}, el("tr", {}, columns.map((column) => this.renderHead(column)))),
      el("tbody", {}, this.sortedRows().map(row)));
    this.root.replaceChildren(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table));
    if (focused) this.root.querySelector(`[data-column="${CSS.escape(focused)}"]`)?.focus();
  }

  renderHead({ key, kind, label, help: title }) {
    const { column, isDown } = this.sort;
    const isSorted = column === key;
    const [sorting, arrow] = isSorted ? (isDown ? ["descending", " ↓"] : ["ascending", " ↑"]) : ["none", ""];
    const name = kind === "bar" ? CATEGORIES.map((category) => [VN.swatch(category), `${category} \u00a0 `]) : label;
    const onclick = () => {
      this.sort = { column: key, isDown: isSorted ? !isDown : kind !== "name" };
      this.receive();
    };
    const mark = el("span", { class: "arrow", "aria-hidden": "true" }, arrow);
    return el("th", { scope: "col", class: kind, "aria-sort": sorting },
      button({ "data-column": key, title, onclick }, name, mark));
  }

  renderCell(row, { key, kind }) {
    const value = row[key], isMissing = value === null || value === undefined;
    const cell = (...children) => el("td", kind, ...children);
    if (kind === "name") {
      const title = `${value} – ${this.data.action}`, onclick = () => this.send("opened", row.key);
      return el("th", { scope: "row", class: "name" }, this.data.opens && row.opens !== false
        ? button({ class: "open", title, onclick }, value) : el("span", { title: value }, value));
    }
    if (kind === "histogram") return cell(value ? this.renderHistogram(value) : quiet("–"));
    if (kind === "bar") return cell(this.renderBar(row));
    if (kind === "text") return el("td", "text quiet", value ?? "");
    const format = { count: VN.count, score: VN.score, loss: VN.loss, share: (x) => VN.share(x, 1) }[kind];
    return el("td", "number", isMissing ? quiet("–") : format(value));
  }

  // One path per category; a bin belongs to the category of its middle.
  renderHistogram(counts) {
    const { edges, low, high, cut } = this.data.limits;
    const most = Math.max(1, ...counts), height = 26, n = counts.length;
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
    if (!row.n_scored) return quiet("not scored");
    const share = (category) => `${category} ${VN.count(row[category])} (${VN.share(row[category], row.n_scored)})`;
    const label = CATEGORIES.map(share).join(", ");
    const width = (category) => `${(100 * row[category]) / row.n_scored}%`;
    const piece = (category) => el("span", { class: category, style: { width: width(category) } });
    return el("span", { class: "stack", role: "img", "aria-label": label, title: label }, CATEGORIES.map(piece));
  }
}

export default VN.mount(Breakdown);
