// The threshold editor: limits to drag, to step or to type, and what the cut keeps and drops.
//
// While a limit moves, counts come from the bins here and are marked as about. Once it stands, the
// exact ones are asked for at the dashboard's own address and shown; only then is the page told,
// whose script takes longer.

const EDITORS = new WeakMap();
const PAUSE_MS = 180; // between steps of a limit, after which it stands
const LIMITS = ["low", "high", "cut"];

class ThresholdEditor {
  constructor(root) {
    this.root = root;
    this.sent = 0;
    this.asked = 0;
    this.settled = Promise.resolve();
    this.build();
  }

  build() {
    const { el } = VN;
    this.plot = new ThresholdPlot(this);
    const limit = (name) => (value, stepped) => { this.set(name, value); if (stepped) this.settleSoon(); else this.settle(); };
    const wish = (name, by = 1) => (value, stepped) => { const what = { [name]: value / by }; if (stepped) this.settleSoon(what); else this.settle(what); };
    this.fields = {
      cut: new NumberField("Cut: keep scores from", { digits: 3, take: limit("cut") }),
      share: new NumberField("Keep the top share, %", { digits: 2, take: wish("share", 100), help: "Moves the cut to the score above which this share of the scored samples lies" }),
      samples: new NumberField("Keep so many samples", { take: wish("samples"), help: "Moves the cut to the score above which this many samples lie; ties come on top" }),
      tokens: new NumberField("Keep so many answer tokens", { take: wish("tokens"), help: "Takes samples from the highest score down while their answer tokens fit the budget" }),
      low: new NumberField("Misaligned below", { digits: 3, take: limit("low") }),
      high: new NumberField("Vision-critical from", { digits: 3, take: limit("high") }),
    };
    const button = (name, label) => el("button", { type: "button", onclick: () => this.act(name) }, label);
    this.buttons = { subset: button("subset", "Make a subset with this cut"), review: button("review", "Review around the cut"), save: button("save", "Save these bands"), reset: button("reset", "Reset") };
    this.log = el("input", { type: "checkbox", onchange: () => { this.draw(); this.ask("log", this.log.checked ? "on" : "off"); } });
    this.live = el("div", { class: "live", role: "status" });
    this.problem = el("div", { class: "problem", role: "alert", hidden: true });
    this.mix = el("div", { class: "vn-mix" });
    this.figures = el("div", { class: "vn-figures" });
    const { plot, fields, buttons } = this;
    this.root.replaceChildren(
      plot.node,
      el("div", { class: "line" }, this.live, el("label", { class: "scale", title: "Heights in symmetric-log counts: rare scores show" }, this.log, "Log counts")),
      this.problem, this.mix,
      el("div", { class: "controls" }, Object.values(fields).map((one) => one.node), el("div", { class: "acts" }, Object.values(buttons))),
      this.figures);
  }

  close() { this.plot.watcher.disconnect(); clearTimeout(this.timer); }

  // ---- what the page says ---------------------------------------------------------------------

  receive(data, send, ask) {
    this.send = send;
    this.ask = ask;
    this.data = data;
    this.log.checked = data.log;
    const seen = data.seq ?? 0;
    const ours = seen < this.sent || this.held || this.asking || this.timer;
    this.sent = Math.max(this.sent, seen);
    if (!this.limits || !ours) this.take(data.facts);
    else if (this.areFor(data.facts)) this.facts = data.facts;
    this.draw();
  }

  take(facts) {
    this.facts = facts;
    this.limits = Object.fromEntries(LIMITS.map((name) => [name, facts[name]]));
  }

  areFor(facts) { return LIMITS.every((name) => facts[name] === this.limits[name]); }

  // ---- what the person does -------------------------------------------------------------------

  // A limit that runs into another takes it along; a cut that nobody set stays at the upper band limit.
  set(name, value) {
    this.forget();
    this.limits[name] = value;
    if (name === "low" && value > this.limits.high) this.limits.high = value;
    if (name === "high" && value < this.limits.low) this.limits.low = value;
    if (name !== "cut" && this.data.follows) this.limits.cut = this.limits.high;
    this.draw();
  }

  move(name, value) { this.set(name, this.rounded(Math.min(Math.max(value, this.plot.from), this.plot.to))); }
  rounded(value) { return Math.round((Math.round(value / this.data.step) * this.data.step) * 1e6) / 1e6; }
  hold() { this.forget(); this.held = true; }
  release() { this.held = false; this.settle(); }
  brush(from, to) { this.ask("brushed", [this.rounded(from), this.rounded(to)]); }

  // What was asked for before is about other limits now.
  forget() {
    clearTimeout(this.timer);
    this.timer = null;
    this.asked += 1;
    this.asking = false;
  }

  settleSoon(wish = null) {
    clearTimeout(this.timer);
    this.due = wish;
    this.timer = setTimeout(() => this.settle(wish), PAUSE_MS);
  }

  // Exact counts for the limits as they stand, or for the cut that is wished; then the page is told.
  settle(wish = null) {
    this.forget();
    if (wish || this.moved.length) this.settled = this.askFacts(wish ?? { cut: this.limits.cut });
  }

  async askFacts(wish) {
    const number = this.asked, { address } = this.data, { low, high } = this.limits;
    this.asking = true;
    let facts = null, problem = null;
    try {
      const answer = await fetch(`${address}&${new URLSearchParams({ low, high, ...wish })}`, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(await answer.text());
      facts = await answer.json();
    } catch (error) { problem = String(error.message ?? error); }
    if (number !== this.asked) return;
    this.asking = false;
    if (facts && address === this.data.address) this.take(facts);
    this.tellProblem("cut" in wish ? null : problem); // limits are told to the page all the same
    this.draw();
    this.tellPage();
  }

  get moved() {
    const { facts, follows } = this.data;
    return LIMITS.filter((name) => this.limits[name] !== facts[name] && !(name === "cut" && follows && this.limits.cut === this.limits.high));
  }

  // Only what was moved is sent: what a link leaves open stays open.
  tellPage() {
    const { moved } = this;
    if (!moved.length) return;
    this.sent += 1;
    this.send("limits", { ...Object.fromEntries(moved.map((name) => [name, this.limits[name]])), seq: this.sent });
  }

  // With the limits that were typed or stepped just before.
  async act(name) {
    if (this.timer) this.settle(this.due);
    await this.settled;
    this.ask("act", name);
  }

  // ---- what is shown --------------------------------------------------------------------------

  below(limit) {
    const { edges, counts } = this.data;
    let n = 0;
    for (let i = 0; i < counts.length; i++) {
      if (edges[i + 1] <= limit) n += counts[i];
      else if (edges[i] < limit) n += (counts[i] * (limit - edges[i])) / (edges[i + 1] - edges[i]);
    }
    return n;
  }

  get counts() {
    const { facts, limits } = this, { scored } = facts;
    if (this.areFor(facts)) return { ...facts, exact: true };
    return { scored, kept: scored - this.below(limits.cut), misaligned: this.below(limits.low), critical: scored - this.below(limits.high), exact: false };
  }

  draw() {
    const { counts, limits, facts, fields, data } = this;
    const { scored, kept, exact } = counts;
    this.plot.draw(data, this.log.checked, limits, scored ? 1 - kept / scored : 0);
    this.tell(counts);
    fields.cut.show(limits.cut, { least: -1e6, most: 1e6, step: 0.01 });
    fields.share.show(scored ? (100 * kept) / scored : 0, { least: 0, most: 100, step: 1 });
    fields.samples.show(kept, { least: 0, most: scored, step: Math.max(1, Math.round(scored / 100)) });
    fields.tokens.show(facts.kept_tokens, { least: 0, most: facts.tokens ?? 0, step: Math.max(1, Math.round((facts.tokens ?? 0) / 100)) });
    for (const name of ["low", "high"]) fields[name].show(limits[name], { least: -1e6, most: 1e6, step: 0.01 });
    const usual = limits.low === data.own.low && limits.high === data.own.high;
    this.buttons.save.disabled = usual;
    this.buttons.save.title = `For everybody in this workspace; now ${VN.limit(data.own.low)} and ${VN.limit(data.own.high)}`;
    this.buttons.reset.disabled = usual && limits.cut === data.own.high;
    for (const one of [this.figures, this.mix]) one.classList.toggle("about", !exact);
    if (this.shown !== facts) { this.shown = facts; this.drawFacts(); }
  }

  tell({ scored, kept, misaligned, critical, exact }) {
    const { el } = VN;
    const figure = (label, n, category) => el("span", { class: "figure" },
      category ? VN.swatch(category) : null, label, " ", el("b", {}, (exact ? "" : "≈ ") + VN.count(n)), " ", el("span", { class: "quiet" }, VN.share(n, scored)));
    this.live.dataset.exact = exact ? "yes" : "no";
    this.live.dataset.kept = Math.round(kept);
    this.live.replaceChildren(
      figure("kept", kept), figure("dropped", scored - kept),
      el("span", { class: "rule" }),
      figure("misaligned", misaligned, "misaligned"),
      figure("redundant", Math.max(0, scored - misaligned - critical), "redundant"),
      figure("vision-critical", critical, "vision-critical"));
  }

  tellProblem(problem) {
    this.problem.hidden = !problem;
    this.problem.textContent = problem ? `The cut was not moved: ${problem}` : "";
  }

  drawFacts() {
    const { el } = VN;
    this.figures.replaceChildren(...this.facts.figures.map(({ name, value, note }) => el("div", { class: "vn-figure" },
      el("div", { class: "vn-name" }, name), el("div", { class: "vn-value" }, value), note ? el("div", { class: "vn-note" }, note) : null)));
    this.drawMix();
  }

  // Shares are of each bar's own whole, so that a source that the cut favours is longer above than below.
  drawMix() {
    const { el } = VN;
    const { parts, kept, scored } = this.facts;
    this.mix.hidden = !parts.length;
    const sides = [["kept", 1, kept], ["dropped", 2, scored - kept]];
    const bar = ([side, at, whole]) => [el("span", { class: "quiet" }, side),
      el("div", { class: "vn-bar", role: "img", "aria-label": `${side}: ${parts.map((part) => `${part[0]} ${VN.share(part[at], whole)}`).join(", ")}` },
        parts.map((part, place) => part[at] ? el("span", { class: `s${place}`, style: { width: `${(100 * part[at]) / whole}%` }, title: `${part[0]}: ${VN.count(part[at])} ${side}, ${VN.share(part[at], whole)}` }) : null))];
    this.mix.replaceChildren(...sides.flatMap(bar), el("ul", { "aria-label": "Sources" },
      el("li", { class: "quiet" }, "share of the kept · of the dropped:"),
      parts.map((part, place) => el("li", {}, el("span", { class: `vn-swatch s${place}`, "aria-hidden": "true" }), part[0], " ",
        el("span", { class: "quiet" }, sides.map(([, at, whole]) => VN.share(part[at], whole)).join(" · "))))));
  }
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  let editor = EDITORS.get(root);
  if (!editor) {
    editor = new ThresholdEditor(root);
    EDITORS.set(root, editor);
  }
  editor.receive(data, setStateValue, setTriggerValue);
  return () => { editor.close(); EDITORS.delete(root); };
}
