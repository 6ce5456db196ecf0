// The threshold editor: limits to drag, to step or to type, and what the threshold keeps and drops. While a limit
// moves, counts are estimated from the histogram's bins and marked as approximate. Once it rests, the exact ones
// are fetched from the dashboard's own route, and the page's script, which takes longer, runs after that. In data
// and URLs the threshold is called `cut`. An imported column has a threshold only, and its data names the column.

const PAUSE_MS = 180; // without a step, after which a limit counts as resting
const LIMITS = ["low", "high", "cut"];

class ThresholdEditor extends Widget {
  /** @type {any} */ facts = null; // exact counts, and the limits they are about
  /** @type {Record<string, number>} */ limits = null;
  sent = 0; // number of the last limits sent to the page
  requested = 0; // number of the last request for counts
  answered = Promise.resolve();

  build() {
    const { column } = this.data;
    this.names = column ? ["cut"] : LIMITS;
    this.plot = new ThresholdPlot(this, this.names, column);
    this.fields = this.buildFields();
    const action = (name, label, kind = null) => button({ class: kind, onclick: () => this.act(name) }, label);
    /** @type {Record<string, any>} */
    this.buttons = column ? { explore: action("explore", "Show kept samples", "main") } : {
      subset: action("subset", "Create subset from threshold", "main"),
      review: action("review", "Review near threshold", "main second"),
      save: action("save", "Save band limits"), reset: action("reset", "Reset"),
    };
    const onchange = () => { this.draw(); this.send("log", this.log.checked ? "on" : "off"); };
    this.log = el("input", { type: "checkbox", onchange });
    this.live = el("div", { class: "live", role: "status" });
    this.problem = el("div", { class: "problem", role: "alert", hidden: true });
    this.mix = el("div", "mixes");
    this.figures = el("div", "vn-figures line");
    const scale = el("label", { class: "scale", title: "Symmetric-log bar heights make rare scores visible" },
      this.log, "Log counts");
    const { low, high, ...threshold } = this.fields;
    const units = { cut: column ? "value" : "score", share: "top %", samples: "samples", tokens: "tokens" };
    const bands = low ? [low.node, high.node] : null;
    const acts = el("div", "acts", Object.values(this.buttons));
    this.root.replaceChildren(
      this.plot.node, el("div", "below", this.live, scale), this.problem,
      el("div", "controls", new ThresholdField(threshold, units).node, bands, acts), this.mix, this.figures);
  }

  buildFields() {
    // A field sets a limit itself, or requests the threshold that keeps a share, samples or tokens.
    const finish = (isStep, request = null) => { if (isStep) this.finishSoon(request); else this.finish(request); };
    const { column } = this.data;
    const limitField = (name, label) => new NumberField(label, {
      digits: column ? this.data.digits : 3, isExact: true,
      onChange: (value, isStep) => { this.set(name, value); finish(isStep); },
    });
    const requestField = (name, label, help, digits = 0, divisor = 1) => new NumberField(label, {
      digits, help, onChange: (value, isStep) => finish(isStep, { [name]: value / divisor }),
    });
    const noun = column ? "value" : "score";
    /** @type {Record<string, any>} */
    const fields = {
      cut: limitField("cut", `Threshold: keep ${noun}s from`),
      share: requestField("share", "Share to keep, %",
        `Moves the threshold to keep this share of the samples with a ${noun}, highest ${noun}s first`, 2, 100),
      samples: requestField("samples", "Samples to keep",
        `Moves the threshold to keep this number of samples, highest ${noun}s first; ties are added`),
    };
    return column ? fields : {
      ...fields,
      tokens: requestField("tokens", "Answer tokens to keep",
        "Adds samples from the highest score down while their answer tokens fit the budget"),
      low: limitField("low", "Misaligned below"), high: limitField("high", "Vision-critical from"),
    };
  }

  close() {
    this.plot?.close();
    clearTimeout(this.timer);
  }

  receive() {
    const { data } = this;
    if (!this.plot) this.build();
    this.log.checked = data.log;
    const seen = data.seq ?? 0;
    const isAhead = seen < this.sent || this.isDragged || this.isRequesting || this.timer;
    this.sent = Math.max(this.sent, seen);
    if (!this.limits || !isAhead) this.adopt(data.facts);
    else if (this.isAbout(data.facts)) this.facts = data.facts;
    this.draw();
  }

  adopt(facts) {
    this.facts = facts;
    this.limits = Object.fromEntries(this.names.map((name) => [name, facts[name]]));
  }

  isAbout(facts) { return this.names.every((name) => facts[name] === this.limits[name]); }

  // A limit that meets the other pushes it along; a threshold that was never set follows the upper limit.
  set(name, value) {
    this.cancelRequest();
    this.limits[name] = value;
    if (name === "low" && value > this.limits.high) this.limits.high = value;
    if (name === "high" && value < this.limits.low) this.limits.low = value;
    if (name !== "cut" && this.data.follows) this.limits.cut = this.limits.high;
    this.draw();
  }

  move(name, value) { this.set(name, this.rounded(Math.min(Math.max(value, this.plot.from), this.plot.to))); }
  rounded(value) { return Number((Math.round(value / this.data.step) * this.data.step).toPrecision(12)); }
  startDrag() { this.cancelRequest(); this.isDragged = true; }
  endDrag() { this.isDragged = false; this.finish(); }
  brush(from, to) { this.send("brushed", [this.rounded(from), this.rounded(to)]); }

  // The limits have changed, so a pending answer is about the old ones.
  cancelRequest() {
    clearTimeout(this.timer);
    this.timer = null;
    this.requested += 1;
    this.isRequesting = false;
  }

  finishSoon(request = null) {
    clearTimeout(this.timer);
    this.due = request;
    this.timer = setTimeout(() => this.finish(request), PAUSE_MS);
  }

  // Fetch exact counts for the current limits, or for a requested threshold; then inform the page.
  finish(request = null) {
    this.cancelRequest();
    if (request || this.movedLimits.length) this.answered = this.fetchFacts(request ?? { cut: this.limits.cut });
  }

  async fetchFacts(request) {
    const number = this.requested, { address } = this.data, { cut, ...bands } = this.limits;
    this.isRequesting = true;
    let facts = null, problem = null;
    try {
      const query = new URLSearchParams(/** @type {any} */ ({ ...bands, ...request }));
      const answer = await fetch(`${address}&${query}`);
      if (!answer.ok) throw new Error(await answer.text());
      facts = await answer.json();
    } catch (error) { problem = String(error.message ?? error); }
    if (number !== this.requested) return;
    this.isRequesting = false;
    if (facts && address === this.data.address) this.adopt(facts);
    const isRefused = problem && !("cut" in request); // limits go to the page in any case
    this.problem.hidden = !isRefused;
    this.problem.textContent = isRefused ? `The threshold was not moved: ${problem}` : "";
    this.draw();
    this.informPage();
  }

  get movedLimits() {
    const { facts, follows } = this.data;
    const isFollowing = follows && this.limits.cut === this.limits.high;
    return this.names.filter((name) => this.limits[name] !== facts[name] && !(name === "cut" && isFollowing));
  }

  // Only moved limits are sent, so a link leaves the others open.
  informPage() {
    const moved = this.movedLimits;
    if (!moved.length) return;
    this.sent += 1;
    this.setState("limits", { ...Object.fromEntries(moved.map((name) => [name, this.limits[name]])), seq: this.sent });
  }

  // With limits that were typed or stepped just before.
  async act(name) {
    if (this.timer) this.finish(this.due);
    await this.answered;
    this.send("act", name);
  }

  /** Estimate the scored samples below a limit from the bins. */
  below(limit) {
    const { edges, counts } = this.data;
    const shareBelow = (i) => clamp((limit - edges[i]) / (edges[i + 1] - edges[i]), 0, 1);
    return counts.reduce((sum, n, i) => sum + n * shareBelow(i), 0);
  }

  get counts() {
    const { facts, limits } = this, { scored } = facts;
    if (this.isAbout(facts)) return { ...facts, exact: true };
    const kept = scored - this.below(limits.cut);
    if (this.data.column) return { scored, kept, exact: false };
    const critical = scored - this.below(limits.high);
    const nearLow = this.below(limits.low + facts.tolerance) - this.below(limits.low - facts.tolerance);
    return { scored, kept, misaligned: this.below(limits.low), near_low: nearLow, critical, exact: false };
  }

  draw() {
    const { counts, limits, data } = this;
    this.plot.draw(data, this.log.checked, limits, counts.scored ? 1 - counts.kept / counts.scored : 0);
    this.drawCounts(counts);
    this.drawFields(counts);
    if (!data.column) this.drawButtons();
    for (const node of [this.figures, this.mix]) node.classList.toggle("about", !counts.exact);
    if (this.shown === this.facts) return;
    this.shown = this.facts;
    this.figures.replaceChildren(...this.facts.figures.map(({ name, value, note }) => el("div", "vn-figure",
      el("div", "vn-name", name), el("div", "vn-value", value), note ? el("div", "vn-note", note) : null)));
    this.drawMix();
  }

  drawButtons() {
    const { limits, data } = this;
    const areSaved = limits.low === data.own.low && limits.high === data.own.high;
    const saved = `${VN.limit(data.own.low)} and ${VN.limit(data.own.high)}`;
    this.buttons.save.disabled = areSaved;
    this.buttons.save.title = `For everyone in this workspace; currently ${saved}`;
    this.buttons.reset.disabled = areSaved && limits.cut === data.own.high;
  }

  drawFields({ scored, kept }) {
    const { fields, facts, data } = this;
    const range = data.column ? { least: -1e15, most: 1e15, step: data.step } : { least: -1e6, most: 1e6, step: 0.01 };
    const upTo = (most) => ({ least: 0, most, step: Math.max(1, Math.round(most / 100)) });
    for (const name of this.names) fields[name].show(this.limits[name], range);
    fields.share.show(scored ? (100 * kept) / scored : 0, { least: 0, most: 100, step: 1 });
    fields.samples.show(kept, upTo(scored));
    fields.tokens?.show(facts.kept_tokens, upTo(facts.tokens ?? 0));
  }

  drawCounts({ scored, kept, misaligned, near_low: nearLow, critical, exact }) {
    const figure = (label, n, category, note = null) => el("span", "figure",
      category ? VN.swatch(category) : null, label, " ", el("b", {}, (exact ? "" : "≈ ") + VN.count(n)), " ",
      quiet(VN.share(n, scored)), note);
    this.live.dataset.exact = exact ? "yes" : "no";
    this.live.dataset.kept = Math.round(kept);
    this.live.replaceChildren(figure("kept", kept), figure("dropped", scored - kept));
    if (this.data.column) return;
    const near = quiet(`, ${VN.count(nearLow)} within ±${this.facts.tolerance} of the limit`);
    this.live.append(
      el("span", "rule"),
      figure("misaligned", misaligned, "misaligned", near),
      figure("redundant", Math.max(0, scored - misaligned - critical), "redundant"),
      figure("vision-critical", critical, "vision-critical"));
  }

  // Each bar shows shares of its own total, so a source that the threshold favours is longer among the kept. The
  // parts of a column's threshold are categories.
  drawMix() {
    const { parts, kept, scored } = this.facts; // each part is a name, its kept and its dropped samples
    const category = (i) => CATEGORIES.includes(parts[i][0]) ? parts[i][0] : "none";
    const colour = (i) => this.data.column ? category(i) : `s${i}`;
    this.mix.hidden = !parts.length;
    const sides = [{ side: "kept", at: 1, total: kept }, { side: "dropped", at: 2, total: scored - kept }];
    const bar = ({ side, at, total }) => {
      const label = parts.map((part) => `${part[0]} ${VN.share(part[at], total)}`).join(", ");
      const pieces = parts.map((part, i) => part[at] ? el("span", {
        class: colour(i), style: { width: `${(100 * part[at]) / total}%` },
        title: `${part[0]}: ${VN.count(part[at])} ${side}, ${VN.share(part[at], total)}`,
      }) : null);
      return [quiet(side), el("div", { class: "vn-bar", role: "img", "aria-label": `${side}: ${label}` }, pieces)];
    };
    const swatch = (i) => el("span", { class: `vn-swatch ${colour(i)}`, "aria-hidden": "true" });
    const legend = (part, i) => el("li", {}, swatch(i), part[0],
      " ", quiet(sides.map(({ at, total }) => VN.share(part[at], total)).join(" · ")));
    const title = el("li", "quiet", "share of the kept · of the dropped:");
    const names = { "aria-label": this.data.column ? "Categories" : "Sources" };
    const keptShare = (part) => {
      const [name, n] = part, share = VN.share(n, n + part[2]);
      const label = `${name}: ${share} of ${VN.count(n + part[2])} kept`;
      const piece = el("span", { class: "kept", style: { width: `${(100 * n) / (n + part[2])}%` } });
      return [el("span", { class: "part", title: name }, name),
        el("div", { class: "vn-bar", role: "img", "aria-label": label, title: label }, piece),
        el("span", "number", share)];
    };
    this.mix.replaceChildren(
      el("div", "vn-mix", sides.flatMap(bar), el("ul", names, title, parts.map(legend))),
      el("div", { class: "shares", role: "group", "aria-label": "Kept share" },
        el("span", "quiet title", "share kept of each"), parts.map((part) => el("div", "share", keptShare(part)))));
  }
}

export default VN.mount(ThresholdEditor);
