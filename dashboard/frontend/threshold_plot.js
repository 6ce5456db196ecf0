// The histogram with three limits to take hold of, and beside it the curve of shares at or below
// each score. It draws what it is told and tells its host what the pointer does; limits and counts
// are the host's.
//
// Limits may stand at one place. Over the bars the cut is the uppermost; below the axis it ends and
// each band limit has a grip on its own side, so that all three can be taken hold of.

const HEIGHT = 250, TOP = 34, BOTTOM = 34, LEFT = 46, RIGHT = 12;
const BASE = HEIGHT - BOTTOM, FOOT = BASE + 19;
const REACH = {
  low: `M-9 0H9V${BASE}H0V${FOOT}H-15V${BASE}H-9Z`,
  high: `M-9 0H9V${BASE}H15V${FOOT}H0V${BASE}H-9Z`,
  cut: `M-9 0H9V${BASE}H-9Z`,
};
const GRIPS = { low: `M0 ${BASE + 3}V${BASE + 16}L-12 ${BASE + 16}Z`, high: `M0 ${BASE + 3}V${BASE + 16}L12 ${BASE + 16}Z` };
const LEAST_BRUSH = 6;
const NAMES = { low: "lower band limit", high: "upper band limit", cut: "cut" };

class ThresholdPlot {
  // `host` has move(name, value), hold(name), release(), nudge(name, steps) and brush(from, to).
  constructor(host) {
    this.host = host;
    this.build();
    this.watcher = new ResizeObserver(() => this.layout());
    this.watcher.observe(this.frame);
  }

  build() {
    const { el, svg } = VN;
    const clip = `clip-${Math.random().toString(36).slice(2)}`;
    this.clips = {}; this.bars = {};
    const defs = svg("defs");
    const hatch = svg("pattern", { id: `${clip}-hatch`, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { width: 2.4, height: 5, fill: "var(--vn-paper)", opacity: 0.75 }));
    defs.append(hatch);
    this.plot = svg("svg", { class: "plot", height: HEIGHT, role: "group", "aria-label": "Histogram of the VisNec score with movable limits" }, defs);
    this.grid = svg("g", { class: "grid", "aria-hidden": "true" });
    this.plot.append(this.grid);
    for (const category of ["misaligned", "redundant", "vision-critical"]) {
      const id = `${clip}-${category}`;
      this.clips[category] = svg("rect", { y: 0, height: HEIGHT });
      defs.append(svg("clipPath", { id }, this.clips[category]));
      this.bars[category] = svg("path", { fill: `var(--vn-${category})`, "clip-path": `url(#${id})` });
      this.plot.append(this.bars[category]);
    }
    this.dropClip = svg("rect", { y: 0, height: HEIGHT });
    defs.append(svg("clipPath", { id: `${clip}-dropped` }, this.dropClip));
    this.dropped = svg("path", { fill: `url(#${clip}-hatch)`, "clip-path": `url(#${clip}-dropped)` });
    this.plot.append(this.dropped);
    this.axis = svg("g", { class: "axis", "aria-hidden": "true" });
    this.plot.append(this.axis);
    this.brushed = svg("rect", { class: "brushed", y: TOP, height: BASE - TOP, visibility: "hidden" });
    this.plot.append(this.brushed);
    this.plot.addEventListener("pointerdown", (event) => this.brush(event));
    this.handles = { low: this.handle("low"), high: this.handle("high"), cut: this.handle("cut") };
    this.curve = svg("svg", { class: "curve", height: HEIGHT, role: "img" });
    this.frame = el("div", { class: "frame" }, this.plot);
    this.side = el("div", { class: "side" }, this.curve);
    this.node = el("div", { class: "plots" }, this.frame, this.side);
  }

  handle(name) {
    const { svg } = VN;
    const group = svg("g", {
      class: `handle ${name}`, tabindex: 0, role: "slider", "aria-label": NAMES[name], "aria-orientation": "horizontal", "data-limit": name,
      onpointerdown: (event) => this.grab(event, name),
      onkeydown: (event) => this.key(event, name),
    });
    group.append(
      svg("path", { class: "reach", d: REACH[name], fill: "transparent" }),
      svg("line", { y1: name === "cut" ? TOP - 12 : TOP, y2: name === "cut" ? BASE : BASE + 5 }),
    );
    if (name === "cut") {
      group.append(svg("rect", { class: "grip", x: -31, y: 2, width: 62, height: 21, rx: 6 }), svg("text", { class: "label", y: 17, "text-anchor": "middle" }));
    } else {
      group.append(svg("path", { class: "grip", d: GRIPS[name] }));
    }
    this.plot.append(group);
    return group;
  }

  get from() { return this.data.edges[0]; }
  get to() { return this.data.edges[this.data.edges.length - 1]; }
  x(value) { return LEFT + ((Math.min(Math.max(value, this.from), this.to) - this.from) / (this.to - this.from)) * (this.width - LEFT - RIGHT); }
  value(x) { return this.from + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.to - this.from); }

  // ---- what is drawn --------------------------------------------------------------------------

  // `share` is that of the scored samples below the cut.
  draw(data, log, limits, share) {
    const same = this.data?.version === data.version && this.log === log;
    this.data = data;
    this.log = log;
    this.limits = { ...limits };
    this.share = share;
    if (same) this.drawLimits(); else this.layout();
  }

  layout() {
    if (!this.data) return;
    const { svg } = VN;
    this.width = Math.max(this.frame.clientWidth, 320);
    VN.set(this.plot, { width: this.width, viewBox: `0 0 ${this.width} ${HEIGHT}` });
    const { edges, counts } = this.data;
    const most = Math.max(1, ...counts);
    // Symmetric log: linear up to one sample, so that an empty bin stays empty.
    const height = (n) => (this.log ? Math.log10(1 + n) / Math.log10(1 + most) : n / most);
    const scale = (n) => height(n) * (HEIGHT - TOP - BOTTOM);
    const base = BASE;
    const bars = counts.map((n, i) => {
      if (!n) return "";
      const left = this.x(edges[i]), right = this.x(edges[i + 1]);
      const gap = right - left > 4 ? 1 : 0;
      return `M${left} ${base}V${base - Math.max(scale(n), 1)}H${right - gap}V${base}Z`;
    }).join("");
    for (const path of [...Object.values(this.bars), this.dropped]) path.setAttribute("d", bars);
    this.grid.replaceChildren(...this.yTicks(most).map((n) => svg("g", {},
      svg("line", { x1: LEFT, x2: this.width - RIGHT, y1: base - scale(n), y2: base - scale(n) }),
      svg("text", { x: LEFT - 6, y: base - scale(n) + 4, "text-anchor": "end" }, VN.count(n)))));
    this.axis.replaceChildren(
      svg("line", { x1: LEFT, x2: this.width - RIGHT, y1: base, y2: base }),
      ...this.xTicks().map((value) => svg("text", { x: this.x(value), y: HEIGHT - 4, "text-anchor": "middle" }, VN.limit(value))));
    this.layoutCurve();
    this.drawLimits();
  }

  yTicks(most) {
    if (this.log) return [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].filter((n) => n <= most);
    const raw = most / 4, power = 10 ** Math.floor(Math.log10(Math.max(raw, 1)));
    const step = Math.max(1, [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw) ?? raw);
    const ticks = [];
    for (let n = step; n <= most; n += step) ticks.push(n);
    return ticks;
  }

  xTicks() {
    const raw = (this.to - this.from) / Math.max(3, Math.floor(this.width / 110));
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((k) => k >= raw);
    const ticks = [];
    for (let k = Math.ceil(this.from / step - 1e-9); k * step <= this.to + 1e-9; k++) ticks.push(Math.round(k * step * 1e6) / 1e6);
    return ticks;
  }

  // The share of scored samples at or below each score.
  layoutCurve() {
    const { svg } = VN;
    const points = this.data.ecdf;
    this.side.hidden = !points.length;
    if (!points.length) return;
    const width = Math.max(this.side.clientWidth, 180), base = BASE, left = 44;
    VN.set(this.curve, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    const x = (value) => left + ((Math.min(Math.max(value, this.from), this.to) - this.from) / (this.to - this.from)) * (width - left - 10);
    const y = (share) => base - share * (base - TOP);
    this.onCurve = { x, y, width };
    let path = `M${left} ${base}`;
    for (const [value, share] of points) path += `H${x(value).toFixed(1)}V${y(share).toFixed(1)}`;
    path += `H${width - 10}`;
    this.at = svg("line", { class: "at", y1: TOP - 6, y2: base });
    this.dot = svg("circle", { class: "dot", r: 4.5 });
    this.said = svg("text", { class: "said" });
    this.curve.replaceChildren(
      svg("g", { class: "grid" }, [0, 0.25, 0.5, 0.75, 1].map((share) => svg("g", {},
        svg("line", { x1: left, x2: width - 10, y1: y(share), y2: y(share) }),
        svg("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`)))),
      svg("path", { class: "line", d: path }), this.at, this.dot, this.said,
      svg("g", { class: "axis" }, svg("line", { x1: left, x2: width - 10, y1: base, y2: base }),
        [this.from, 0, this.to].filter((value, i) => i !== 1 || (this.from < 0 && this.to > 0 && Math.min(x(0) - left, width - 10 - x(0)) > 34)).map((value, i, all) => svg("text", { x: x(value), y: HEIGHT - 4, "text-anchor": i === 0 && value !== 0 ? "start" : i === all.length - 1 ? "end" : "middle" }, VN.limit(Math.round(value * 100) / 100)))),
      svg("text", { class: "title", x: left, y: 14 }, "at or below a score"));
  }

  // Where the cut stands on the curve.
  drawOnCurve() {
    if (this.side.hidden || !this.onCurve) return;
    const { x, y, width } = this.onCurve;
    const at = x(this.limits.cut), high = y(this.share), said = VN.share(this.share, 1);
    this.curve.setAttribute("aria-label", `Share of samples at or below a score; ${said} lie below the cut`);
    VN.set(this.at, { x1: at, x2: at });
    VN.set(this.dot, { cx: at, cy: high });
    VN.set(this.said, { x: at > width / 2 ? at - 9 : at + 9, y: Math.min(Math.max(high - 8, TOP + 8), BASE - 6), "text-anchor": at > width / 2 ? "end" : "start" });
    this.said.textContent = said;
  }

  drawLimits() {
    this.drawOnCurve();
    const { low, high, cut } = this.limits;
    const span = (rect, from, to) => { rect.setAttribute("x", from); rect.setAttribute("width", Math.max(0, to - from)); };
    const left = LEFT - 1, right = this.width;
    const xLow = low <= this.from ? left : this.x(low), xHigh = high >= this.to ? right : this.x(high);
    span(this.clips.misaligned, left, xLow);
    span(this.clips.redundant, xLow, xHigh);
    span(this.clips["vision-critical"], xHigh, right);
    span(this.dropClip, left, cut <= this.from ? left : this.x(cut));
    for (const [name, group] of Object.entries(this.handles)) {
      const value = this.limits[name];
      const x = this.x(value);
      group.setAttribute("transform", `translate(${x} 0)`);
      VN.set(group, { "aria-valuemin": this.from, "aria-valuemax": this.to, "aria-valuenow": value, "aria-valuetext": `${VN.limit(value)} nats` });
      if (name === "cut") {
        const shift = Math.min(Math.max(x, 33), this.width - 33) - x;
        group.querySelector(".grip").setAttribute("x", -31 + shift);
        group.querySelector(".label").setAttribute("x", shift);
        group.querySelector(".label").textContent = `cut ${VN.limit(value)}`;
      }
    }
  }

  // ---- what the pointer and the keys do -------------------------------------------------------

  place(event) { return event.clientX - this.plot.getBoundingClientRect().left; }

  grab(event, name) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    const group = this.handles[name];
    group.focus({ focusVisible: false });
    this.host.hold();
    const offset = this.place(event) - this.x(this.limits[name]);
    this.follow(event, group, (one) => this.host.move(name, this.value(this.place(one) - offset)), () => this.host.release());
  }

  // Drawing across the bars asks for the scores between; what is hardly a stretch is no wish.
  brush(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    const start = Math.min(Math.max(this.place(event), LEFT), this.width - RIGHT);
    let end = start;
    const show = () => VN.set(this.brushed, { x: Math.min(start, end), width: Math.abs(end - start), visibility: Math.abs(end - start) < LEAST_BRUSH ? "hidden" : "visible" });
    this.follow(event, this.plot, (one) => {
      end = Math.min(Math.max(this.place(one), LEFT), this.width - RIGHT);
      show();
    }, () => {
      if (Math.abs(end - start) >= LEAST_BRUSH) this.host.brush(...[start, end].sort((a, b) => a - b).map((x) => this.value(x)));
      end = start;
      show();
    });
  }

  // Calls `onMove` while the pointer moves and `onEnd` once it is let go.
  follow(event, node, onMove, onEnd) {
    node.setPointerCapture(event.pointerId);
    const end = () => {
      node.removeEventListener("pointermove", onMove);
      for (const name of ["pointerup", "pointercancel"]) node.removeEventListener(name, end);
      onEnd();
    };
    node.addEventListener("pointermove", onMove);
    for (const name of ["pointerup", "pointercancel"]) node.addEventListener(name, end);
  }

  key(event, name) {
    const big = event.shiftKey ? 10 : 1;
    const steps = { ArrowLeft: -big, ArrowDown: -big, ArrowRight: big, ArrowUp: big, PageDown: -10, PageUp: 10 }[event.key];
    if (event.key === "Home") this.host.move(name, this.from);
    else if (event.key === "End") this.host.move(name, this.to);
    else if (steps !== undefined) this.host.move(name, this.limits[name] + steps * this.data.step);
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.host.settleSoon();
  }
}
