// The histogram with three draggable limits, and the curve of the share of samples at or below each score. That of
// a column has one limit, the threshold, and no categories. It draws what its host passes and reports pointer and
// key actions to it; the host owns limits and counts.
// Limits may coincide. Over the bars the threshold is on top; below the axis it ends, and each band limit has
// a grip on its own side, so each of the three can be grabbed.

const HEIGHT = 232, TOP = 34, BOTTOM = 50, LEFT = 46, RIGHT = 12;
const BASE = HEIGHT - BOTTOM, FOOT = BASE + 19;
const GRIP_WIDTH = 92;
const REACH = {
  low: `M-9 0H9V${BASE}H0V${FOOT}H-15V${BASE}H-9Z`,
  high: `M-9 0H9V${BASE}H15V${FOOT}H0V${BASE}H-9Z`,
  cut: `M-9 0H9V${BASE}H-9Z`,
};
const GRIPS = {
  low: `M0 ${BASE + 3}V${BASE + 16}L-12 ${BASE + 16}Z`,
  high: `M0 ${BASE + 3}V${BASE + 16}L12 ${BASE + 16}Z`,
};
const LEAST_BRUSH = 6; // pixels
const NAMES = { low: "lower band limit", high: "upper band limit", cut: "threshold" };

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

/** Return the smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is at least `least`. */
const niceStep = (least, factors = [1, 2, 2.5, 5, 10]) => {
  const power = 10 ** Math.floor(Math.log10(least));
  return factors.map((factor) => factor * power).find((step) => step >= least) ?? least;
};

class ThresholdPlot {
  /** @type {any} */ data = null; // edges and counts of the bins, points of the curve
  /** @type {Record<string, number>} */ limits = null;
  log = false;
  share = 0;

  /**
   * @param {any} host has move(name, value), startDrag(), endDrag(), finishSoon() and brush(from, to)
   * @param {string[]} names of the limits
   * @param {string | null} column whose values are drawn, null for the score
   */
  constructor(host, names, column) {
    this.host = host;
    this.column = column;
    const id = `clip-${Math.random().toString(36).slice(2)}`;
    const defs = svg("defs", {}, svg("pattern",
      { id: `${id}-hatch`, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { width: 2.4, height: 5, fill: "var(--vn-paper)", opacity: 0.75 })));
    /** @type {Record<string, any>} */
    this.clips = {};
    const clipped = (name, fill) => {
      this.clips[name] = svg("rect", { y: 0, height: HEIGHT });
      defs.append(svg("clipPath", { id: `${id}-${name}` }, this.clips[name]));
      return svg("path", { fill, "clip-path": `url(#${id}-${name})` });
    };
    this.bars = column ? [clipped("all", "var(--vn-source-0)")]
      : CATEGORIES.map((category) => clipped(category, `var(--vn-${category})`));
    this.bars.push(clipped("dropped", `url(#${id}-hatch)`));
    this.grid = svg("g", { class: "grid", "aria-hidden": "true" });
    this.axis = svg("g", { class: "axis", "aria-hidden": "true" });
    this.brushed = svg("rect", { class: "brushed", y: TOP, height: BASE - TOP, visibility: "hidden" });
    this.handles = Object.fromEntries(names.map((name) => [name, this.buildHandle(name)]));
    const label = column ? `Histogram of ${column} with a movable threshold`
      : "Histogram of the VisNec score with movable limits";
    this.plot = svg("svg", {
      class: "plot", height: HEIGHT, role: "group", "aria-label": label,
      onpointerdown: (event) => this.brush(event),
    }, defs, this.grid, this.bars, this.axis, this.brushed, Object.values(this.handles));
    this.curve = svg("svg", { class: "curve", height: HEIGHT, role: "img" });
    this.frame = el("div", "frame", this.plot);
    this.side = el("div", "side", this.curve);
    this.node = el("div", "plots", this.frame, this.side);
    this.watcher = new ResizeObserver(() => this.layout());
    this.watcher.observe(this.frame);
  }

  close() { this.watcher.disconnect(); }

  buildHandle(name) {
    const isThreshold = name === "cut";
    const grip = isThreshold
      ? [svg("rect", { class: "grip", x: -GRIP_WIDTH / 2, y: 2, width: GRIP_WIDTH, height: 21, rx: 6 }),
        svg("text", { class: "label", y: 17, "text-anchor": "middle" })]
      : svg("path", { class: "grip", d: GRIPS[name] });
    return svg("g", {
      class: `handle ${name}`, tabindex: 0, role: "slider", "aria-label": NAMES[name],
      "aria-orientation": "horizontal", "data-limit": name,
      onpointerdown: (event) => this.drag(event, name), onkeydown: (event) => this.onKey(event, name),
    },
      svg("path", { class: "reach", d: REACH[name], fill: "transparent" }),
      svg("line", { y1: isThreshold ? TOP - 12 : TOP, y2: isThreshold ? BASE : BASE + 5 }), grip);
  }

  get from() { return this.data.edges[0]; }
  get to() { return this.data.edges[this.data.edges.length - 1]; }
  get inner() { return this.width - LEFT - RIGHT; }
  position(value) { return (clamp(value, this.from, this.to) - this.from) / (this.to - this.from); }
  x(value) { return LEFT + this.position(value) * this.inner; }
  format(value) { return VN.limit(value, this.data.digits); }
  value(x) { return this.from + ((x - LEFT) / this.inner) * (this.to - this.from); }

  /** @param {number} share of the scored samples that is below the threshold */
  draw(data, log, limits, share) {
    const isSame = this.data?.version === data.version && this.log === log;
    Object.assign(this, { data, log, limits: { ...limits }, share });
    if (isSame) this.drawLimits(); else this.layout();
  }

  layout() {
    if (!this.data) return;
    this.width = Math.max(this.frame.clientWidth, 320);
    setAttributes(this.plot, { width: this.width, viewBox: `0 0 ${this.width} ${HEIGHT}` });
    const { edges, counts } = this.data;
    const most = Math.max(1, ...counts);
    // Symmetric log: linear up to one sample, so an empty bin stays empty.
    const height = (n) => (this.log ? Math.log10(1 + n) / Math.log10(1 + most) : n / most) * (BASE - TOP);
    const bar = (n, i) => {
      if (!n) return "";
      const left = this.x(edges[i]), right = this.x(edges[i + 1]);
      const gap = right - left > 4 ? 1 : 0;
      return `M${left} ${BASE}V${BASE - Math.max(height(n), 1)}H${right - gap}V${BASE}Z`;
    };
    const bars = counts.map(bar).join("");
    for (const path of this.bars) path.setAttribute("d", bars);
    const line = (y) => svg("line", { x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y });
    this.grid.replaceChildren(...this.yTicks(most).map((n) => svg("g", {}, line(BASE - height(n)),
      svg("text", { x: LEFT - 6, y: BASE - height(n) + 4, "text-anchor": "end" }, VN.count(n)))));
    this.axis.replaceChildren(line(BASE), ...this.xTicks().map((value) =>
      svg("text", { x: this.x(value), y: BASE + 30, "text-anchor": "middle" }, this.format(value))),
      svg("text", { x: LEFT + this.inner / 2, y: HEIGHT - 4, "text-anchor": "middle" }, this.unit),
      svg("text", { x: 0, y: 14 }, "samples"));
    this.layoutCurve();
    this.drawLimits();
  }

  yTicks(most) {
    if (this.log) return [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].filter((n) => n <= most);
    const step = niceStep(Math.max(most / 5, 1), [1, 2, 5, 10]);
    return Array.from({ length: Math.floor(most / step) }, (_, i) => (i + 1) * step);
  }

  xTicks() {
    const step = niceStep((this.to - this.from) / Math.max(3, Math.floor(this.width / 110)));
    const ticks = [];
    for (let k = Math.ceil(this.from / step - 1e-9); k * step <= this.to + 1e-9; k++) {
      ticks.push(Number((k * step).toPrecision(12)));
    }
    return ticks;
  }

  // The share of scored samples at or below each score.
  layoutCurve() {
    const points = this.data.ecdf;
    this.side.hidden = !points.length;
    if (!points.length) return;
    const width = Math.max(this.side.clientWidth, 180), left = 44, right = width - 10;
    setAttributes(this.curve, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    const x = (value) => left + this.position(value) * (right - left);
    const y = (share) => BASE - share * (BASE - TOP);
    this.curveScale = { x, y, width };
    const steps = points.map(([value, share]) => `H${x(value).toFixed(1)}V${y(share).toFixed(1)}`).join("");
    const line = (height) => svg("line", { x1: left, x2: right, y1: height, y2: height });
    const gridLine = (share) => svg("g", {}, line(y(share)),
      svg("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`));
    // Zero is labelled where its text does not touch those at the ends.
    const hasZero = this.from < 0 && this.to > 0 && Math.min(x(0) - left, right - x(0)) > 34;
    const label = (value, anchor) => svg("text", { x: x(value), y: BASE + 30, "text-anchor": anchor },
      VN.limit(value, this.column ? this.data.digits : 2));
    const labels = [label(this.from, this.from === 0 ? "middle" : "start"), label(this.to, "end"),
      hasZero && label(0, "middle")];
    this.marker = svg("line", { class: "at", y1: TOP - 6, y2: BASE });
    this.dot = svg("circle", { class: "dot", r: 4.5 });
    this.shareLabel = svg("text", "said");
    this.curve.replaceChildren(
      svg("g", "grid", [0, 0.25, 0.5, 0.75, 1].map(gridLine)),
      svg("path", { class: "line", d: `M${left} ${BASE}${steps}H${right}` }), this.marker, this.dot, this.shareLabel,
      svg("g", "axis", line(BASE), labels),
      svg("text", { class: "title", x: left, y: 14 }, `at or below a ${this.noun}`));
  }

  get unit() { return this.column ? "value" : "VisNec score, nats per answer token"; }
  get noun() { return this.column ? "value" : "score"; }

  // The threshold on the curve.
  drawOnCurve() {
    if (this.side.hidden || !this.curveScale) return;
    const { x, y, width } = this.curveScale;
    const left = x(this.limits.cut), top = y(this.share), share = VN.share(this.share, 1);
    const isRight = left > width / 2;
    const label = `Share of samples at or below a ${this.noun}; ${share} are below the threshold`;
    this.curve.setAttribute("aria-label", label);
    setAttributes(this.marker, { x1: left, x2: left });
    setAttributes(this.dot, { cx: left, cy: top });
    setAttributes(this.shareLabel, {
      x: isRight ? left - 9 : left + 9, y: clamp(top - 8, TOP + 8, BASE - 6), "text-anchor": isRight ? "end" : "start",
    });
    this.shareLabel.textContent = share;
  }

  drawLimits() {
    this.drawOnCurve();
    const { low, high, cut } = this.limits;
    const span = (rect, from, to) => setAttributes(rect, { x: from, width: Math.max(0, to - from) });
    const left = LEFT - 1, right = this.width;
    if (this.column) span(this.clips.all, left, right);
    else {
      const xLow = low <= this.from ? left : this.x(low), xHigh = high >= this.to ? right : this.x(high);
      span(this.clips.misaligned, left, xLow);
      span(this.clips.redundant, xLow, xHigh);
      span(this.clips["vision-critical"], xHigh, right);
    }
    span(this.clips.dropped, left, cut <= this.from ? left : this.x(cut));
    for (const [name, group] of Object.entries(this.handles)) {
      const value = this.limits[name];
      setAttributes(group, {
        transform: `translate(${this.x(value)} 0)`, "aria-valuemin": this.from, "aria-valuemax": this.to,
        "aria-valuenow": value, "aria-valuetext": this.column ? this.format(value) : `${this.format(value)} nats`,
      });
    }
    // The label stays inside the plot while its line goes to the edge; a long number has no word before it.
    const margin = GRIP_WIDTH / 2 + 2, x = this.x(cut);
    const value = this.format(cut), label = value.length > 6 ? value : `threshold ${value}`;
    const shift = clamp(x, margin, this.width - margin) - x;
    setAttributes(this.handles.cut.querySelector(".grip"), { x: shift - GRIP_WIDTH / 2 });
    setAttributes(this.handles.cut.querySelector(".label"), { x: shift }).textContent = label;
  }

  pointerX(event) { return event.clientX - this.plot.getBoundingClientRect().left; }

  drag(event, name) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    const group = this.handles[name];
    group.focus({ focusVisible: false });
    this.host.startDrag();
    const offset = this.pointerX(event) - this.x(this.limits[name]);
    const onMove = (move) => this.host.move(name, this.value(this.pointerX(move) - offset));
    this.capture(event, group, onMove, () => this.host.endDrag());
  }

  // Dragging across the bars selects a range of scores; a range of a few pixels is ignored.
  brush(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    const xOf = (pointer) => clamp(this.pointerX(pointer), LEFT, this.width - RIGHT);
    const start = xOf(event);
    let end = start;
    const isRange = () => Math.abs(end - start) >= LEAST_BRUSH;
    const show = () => setAttributes(this.brushed, {
      x: Math.min(start, end), width: Math.abs(end - start), visibility: isRange() ? "visible" : "hidden",
    });
    const onMove = (move) => { end = xOf(move); show(); };
    this.capture(event, this.plot, onMove, () => {
      if (isRange()) this.host.brush(this.value(Math.min(start, end)), this.value(Math.max(start, end)));
      end = start;
      show();
    });
  }

  // Call `onMove` while the pointer moves and `onEnd` once it is released.
  capture(event, node, onMove, onEnd) {
    node.setPointerCapture(event.pointerId);
    const listening = new AbortController(), { signal } = listening;
    const end = () => { listening.abort(); onEnd(); };
    node.addEventListener("pointermove", onMove, { signal });
    for (const name of ["pointerup", "pointercancel"]) node.addEventListener(name, end, { signal });
  }

  onKey(event, name) {
    const value = this.limits[name], step = this.data.step * (event.shiftKey ? 10 : 1);
    const target = {
      ArrowLeft: value - step, ArrowDown: value - step, ArrowRight: value + step, ArrowUp: value + step,
      PageDown: value - 10 * this.data.step, PageUp: value + 10 * this.data.step, Home: this.from, End: this.to,
    }[event.key];
    if (target === undefined) return;
    this.host.move(name, target);
    event.preventDefault();
    event.stopPropagation();
    this.host.finishSoon();
  }
}
