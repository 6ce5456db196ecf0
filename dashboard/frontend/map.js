// The map of samples. The server draws the part in view as a picture; while the next one is on its way the last one is
// moved and scaled. Once the map does not move, it is drawn again with all pixels of the screen. Coordinates are in the
// map's unit with y upwards. The whole map fills the stage at a zoom of 1.

const ZOOM_PER_PIXEL = 0.0016, ZOOM_STEP = 1.5, PAN_STEP = 60;
const LEAST_ZOOM = 0.25, MOST_ZOOM = 100; // areas have one decimal
const MARGIN = 0.04; // of the stage around the whole map
const PAUSE = 250; // milliseconds
const CLICK_REACH = 4, LEAST_SHAPE = 6, LASSO_STEP = 4; // pixels
const MODES = {
  move: ["Move", "Drag to move, wheel to zoom (V)"],
  box: ["Box", "Drag a box to filter by it (B)"],
  lasso: ["Lasso", "Draw around points to filter by them (L, or Shift and drag)"],
};
const KEYS = { v: "move", b: "box", l: "lasso" };
const writePoints = (points) => points.map((point) => point.map((x) => x.toFixed(1)).join());

class SampleMap extends Widget {
  static views = new Map(); // last view of each map, for when the page shows it again

  /** @type {{x: number, y: number, zoom: number}} */ view = null; // x and y of the corner at the top left
  /** @type {{x: number, y: number, across: number, up: number}} */ pictured = null; // the corner and scales drawn
  mode = "move";
  isLoading = false;
  isStale = false;

  constructor(root) {
    super(root);
    this.canvas = el("canvas");
    this.shapes = svg("svg", { "aria-hidden": "true" });
    this.names = el("div", { role: "group", "aria-label": "Clusters" });
    this.said = el("div", { class: "said", role: "status" });
    const tool = (label, title, onclick, more = {}) =>
      button({ title, "aria-label": title, onclick, ...more }, label);
    this.modes = Object.entries(MODES).map(([mode, [label, title]]) =>
      tool(label, title, () => this.choose(mode), { "data-mode": mode }));
    this.tools = el("div", { class: "tools", role: "toolbar", "aria-label": "Map" }, this.modes,
      tool("+", "Zoom in (+)", () => this.zoom(ZOOM_STEP)),
      tool("−", "Zoom out (−)", () => this.zoom(1 / ZOOM_STEP)),
      tool("Fit", "Show the whole map (0)", () => this.fit()));
    this.stage = el("div", {
      class: "stage", tabindex: 0, role: "application", "aria-label": "Map of samples",
      onpointerdown: (event) => this.onPointerDown(event), onkeydown: (event) => this.onKey(event),
    }, this.canvas, this.shapes, this.names, this.tools, this.said);
    this.stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.legend = el("ul", { class: "legend", "aria-label": "Colours" });
    root.replaceChildren(el("div", "map", this.stage, this.legend));
    this.choose("move");
    this.watcher = new ResizeObserver(() => this.onResize());
    this.watcher.observe(this.stage);
  }

  close() {
    this.watcher.disconnect();
    this.startMoving();
    this.isClosed = true;
  }

  receive(before) {
    const { address, map, legend, clusters } = this.data;
    if (before?.map !== map) {
      this.view = this.pictured = null;
      this.onResize();
    } else if (before.address !== address) this.refresh();
    if (!this.isNew([legend, clusters])) { this.draw(); return; }
    this.drawLegend();
    this.labels = clusters.map((cluster) => ({ ...cluster, node: this.renderName(cluster) }));
    this.names.replaceChildren(...this.labels.map((label) => label.node));
    this.draw();
  }

  // ---- what is in view

  onResize() {
    if (!this.data || !this.stage.clientWidth) return;
    this.view ??= SampleMap.views.get(this.data.map) ?? this.wholeView();
    this.change();
  }

  wholeView() {
    const { size } = this.data;
    return { zoom: 1, x: -MARGIN * size, y: (1 + MARGIN) * size };
  }

  // Pixels per unit.
  get scales() {
    const share = this.view.zoom / (this.data.size * (1 + 2 * MARGIN));
    return { across: this.stage.clientWidth * share, up: this.stage.clientHeight * share };
  }

  fit() {
    this.view = this.wholeView();
    this.change();
  }

  pan(dx, dy) {
    const { across, up } = this.scales;
    this.view.x -= dx / across;
    this.view.y += dy / up;
    this.change();
  }

  // Zoom around a point of the stage, by default its middle.
  zoom(factor, px = this.stage.clientWidth / 2, py = this.stage.clientHeight / 2) {
    const [x, y] = this.toMap(px, py);
    this.view.zoom = Math.min(Math.max(this.view.zoom * factor, LEAST_ZOOM), MOST_ZOOM);
    const { across, up } = this.scales;
    Object.assign(this.view, { x: x - px / across, y: y + py / up });
    this.change();
  }

  toMap(px, py) {
    const { across, up } = this.scales;
    return [this.view.x + px / across, this.view.y - py / up];
  }

  toStage(x, y) {
    const { across, up } = this.scales;
    return [(x - this.view.x) * across, (this.view.y - y) * up];
  }

  change() {
    SampleMap.views.set(this.data.map, this.view);
    this.draw();
    this.refresh();
  }

  // ---- the picture

  // Request the view's picture. There is one request at a time; what changed meanwhile is requested after it.
  async refresh() {
    this.isStale = true;
    this.startMoving();
    if (this.isLoading || !this.view) return;
    this.isLoading = true;
    if (!this.pictured) this.say("Drawing the map …");
    while (this.isStale && !this.isClosed) {
      this.isStale = false;
      try {
        await this.loadPicture(this.densityMoving);
        this.say("");
      } catch (error) {
        this.say(`The map could not be drawn: ${error.message}`, true);
      }
    }
    this.isLoading = false;
    if (!this.isClosed) this.paused = setTimeout(() => this.sharpen(), PAUSE);
  }

  startMoving() {
    clearTimeout(this.paused);
    this.sharpening?.abort();
  }

  async sharpen() {
    const { max_density: most, max_side: side } = this.data;
    const density = Math.min(devicePixelRatio, most, side / this.longSide);
    if (density <= this.densityMoving) return;
    this.sharpening = new AbortController();
    await this.loadPicture(density, this.sharpening.signal).catch(() => {}); // the coarse one stays
  }

  get densityMoving() { return Math.min(1, this.data.max_side_moving / this.longSide); }

  get longSide() { return Math.max(this.stage.clientWidth, this.stage.clientHeight); }

  // Load the view's picture with `density` pixels per pixel of the page.
  async loadPicture(density, signal) {
    const view = { x: this.view.x, y: this.view.y, ...this.scales }, { address } = this.data;
    const width = this.stage.clientWidth, height = this.stage.clientHeight;
    const [columns, rows] = [width, height].map((side) => Math.max(1, Math.floor(side * density)));
    const limits = {
      x0: view.x, x1: view.x + width / view.across, y0: view.y - height / view.up, y1: view.y,
      width: columns, height: rows, density,
    };
    const request = Object.entries(limits).map(([name, value]) => `${name}=${value}`).join("&");
    const answer = await fetch(`${address}&${request}`, { signal });
    if (!answer.ok) throw new Error(await answer.text());
    const picture = await createImageBitmap(await answer.blob());
    if (signal?.aborted) return;
    setAttributes(this.canvas, { width: columns, height: rows, style: { width: `${width}px`, height: `${height}px` } });
    this.canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    this.pictured = view;
    this.draw();
    this.stage.dataset.pictures = String(Number(this.stage.dataset.pictures ?? 0) + 1);
  }

  say(text, isFailure = false) {
    this.said.textContent = text;
    this.said.classList.toggle("failed", isFailure);
  }

  // ---- what is drawn over it

  draw() {
    if (!this.view) return;
    if (this.pictured) {
      const [x, y] = this.toStage(this.pictured.x, this.pictured.y);
      const { across, up } = this.scales;
      const stretch = `${across / this.pictured.across}, ${up / this.pictured.up}`;
      this.canvas.style.transform = `translate(${x}px, ${y}px) scale(${stretch})`;
    }
    const drawn = this.drawn && this.renderShape(this.drawn, "area drawn");
    const areas = this.data.areas.map((corners) => corners.map(([x, y]) => this.toStage(x, y)));
    this.shapes.replaceChildren(...areas.map((points) => this.renderOutside(points)),
      ...areas.map((points) => this.renderShape(points, "area")), ...(drawn ? [drawn] : []));
    this.placeNames();
  }

  renderShape(points, kind) {
    return svg("polygon", { class: kind, points: writePoints(points).join(" ") });
  }

  // The stage without an area: what the filter leaves out is dimmed.
  renderOutside(points) {
    const { clientWidth: width, clientHeight: height } = this.stage;
    return svg("path", { class: "outside", d: `M0,0H${width}V${height}H0ZM${writePoints(points).join("L")}Z` });
  }

  renderName({ id, name, chosen }) {
    const title = `${name} – ${chosen ? "remove from the filter" : "filter by this cluster"}`;
    return button({ class: chosen ? "name chosen" : "name", title, "aria-pressed": String(chosen),
      onclick: () => this.send("cluster", id), onpointerdown: (event) => event.stopPropagation() }, name);
  }

  // Names that would cover an earlier one, of a larger cluster, are hidden; those in the filter come first.
  placeNames() {
    const taken = [];
    const { clientWidth: width, clientHeight: height } = this.stage;
    for (const label of [...(this.labels ?? [])].sort((a, b) => b.chosen - a.chosen)) {
      const [x, y] = this.toStage(label.x, label.y), { node } = label;
      label.half ??= node.offsetWidth ? [node.offsetWidth / 2 + 2, node.offsetHeight / 2 + 2] : undefined;
      const [w, h] = label.half ?? [60, 12];
      const isCovered = x < w || x > width - w || y < h || y > height - h
        || taken.some((box) => Math.abs(box.x - x) < box.w + w && Math.abs(box.y - y) < box.h + h);
      if (!isCovered) taken.push({ x, y, w, h });
      node.classList.toggle("covered", isCovered);
      node.style.left = `${x}px`;
      node.style.top = `${y}px`;
    }
  }

  drawLegend() {
    const { classes, scale, n_without: nWithout } = this.data.legend;
    const swatch = (colour) => el("span", { class: "swatch", style: { background: colour }, "aria-hidden": "true" });
    const step = (colour) => el("i", { style: { background: colour } });
    this.legend.replaceChildren(...[
      scale && el("li", {}, `below ${scale.from}`, el("span", "scale", scale.colours.map(step)), `${scale.to} or more`),
      ...classes.filter(({ n }) => n).map(({ name, colour, n }) =>
        el("li", {}, swatch(colour), name, quiet(VN.count(n)))),
      nWithout > 0 && el("li", "quiet", `${VN.count(nWithout)} not on the map`),
    ].filter(Boolean));
  }

  // ---- pointer and keys

  choose(mode) {
    this.mode = this.stage.dataset.mode = mode;
    for (const node of this.modes) node.setAttribute("aria-pressed", String(node.dataset.mode === mode));
  }

  pointOf(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left - this.stage.clientLeft, event.clientY - box.top - this.stage.clientTop];
  }

  onWheel(event) {
    event.preventDefault();
    if (!this.view) return;
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    this.zoom(Math.exp(-pixels * ZOOM_PER_PIXEL), ...this.pointOf(event));
  }

  onPointerDown(event) {
    if (event.button !== 0 || !this.view || this.tools.contains(event.composedPath()[0])) return;
    event.preventDefault();
    this.stage.focus({ focusVisible: false });
    const mode = event.shiftKey ? "lasso" : this.mode, start = this.pointOf(event);
    const drag = mode === "move" ? this.startMove(start) : this.startShape(mode, start);
    this.stage.classList.add("dragging");
    this.stage.setPointerCapture(event.pointerId);
    this.dragging = new AbortController();
    const { signal } = this.dragging;
    signal.addEventListener("abort", () => this.stage.classList.remove("dragging"));
    this.stage.addEventListener("pointermove", (move) => drag.move(this.pointOf(move)), { signal });
    for (const name of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(name, () => { this.dragging.abort(); drag.end(name === "pointerup"); }, { signal });
    }
  }

  startMove(start) {
    let last = start, hasMoved = false;
    return {
      move: (point) => {
        hasMoved ||= Math.hypot(point[0] - start[0], point[1] - start[1]) > CLICK_REACH;
        if (hasMoved) this.pan(point[0] - last[0], point[1] - last[1]);
        if (hasMoved) last = point;
      },
      end: (isDone) => {
        if (!isDone || hasMoved) return;
        const { across, up } = this.scales;
        this.send("point", [...this.toMap(...start), (2 * CLICK_REACH) / across, (2 * CLICK_REACH) / up]);
      },
    };
  }

  startShape(mode, start) {
    this.drawn = [start];
    return {
      move: (point) => {
        const last = this.drawn[this.drawn.length - 1];
        if (mode === "box") this.drawn = [start, [point[0], start[1]], point, [start[0], point[1]]];
        else if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= LASSO_STEP) this.drawn.push(point);
        this.draw();
      },
      end: (isDone) => {
        const drawn = this.drawn;
        this.drawn = null;
        this.draw();
        if (isDone && drawn && this.isShape(drawn)) this.send("area", drawn.map((point) => this.toMap(...point)));
      },
    };
  }

  isShape(points) {
    const span = (values) => Math.max(...values) - Math.min(...values);
    return [0, 1].every((axis) => span(points.map((point) => point[axis])) >= LEAST_SHAPE);
  }

  onKey(event) {
    if (event.composedPath()[0] !== this.stage || VN.hasModifier(event) || !this.view) return;
    const key = event.key.toLowerCase();
    const actions = {
      arrowleft: () => this.pan(PAN_STEP, 0), arrowright: () => this.pan(-PAN_STEP, 0),
      arrowup: () => this.pan(0, PAN_STEP), arrowdown: () => this.pan(0, -PAN_STEP),
      "+": () => this.zoom(ZOOM_STEP), "=": () => this.zoom(ZOOM_STEP), "-": () => this.zoom(1 / ZOOM_STEP),
      0: () => this.fit(), escape: () => this.cancelShape(),
    };
    const action = actions[key] ?? (KEYS[key] && (() => this.choose(KEYS[key])));
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  cancelShape() {
    if (this.drawn) this.dragging.abort();
    this.drawn = null;
    this.choose("move");
    this.draw();
  }
}

export default VN.mount(SampleMap);
