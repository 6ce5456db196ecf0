// A number to type or to step, with its name above it. What is typed counts once Enter is pressed or
// the field is left; Escape brings back what was there.

class NumberField {
  // `take` gets the number, and whether it was stepped to, so that more may follow.
  constructor(label, { digits = 0, help = null, take }) {
    const { el } = VN;
    this.digits = digits;
    this.take = take;
    this.limits = { least: -Infinity, most: Infinity, step: 1 };
    this.typed = false;
    this.input = el("input", { type: "number", step: "any", "aria-label": label, title: help,
      oninput: () => { this.typed = true; }, onchange: () => this.commit(), onkeydown: (event) => this.key(event) });
    // For the pointer only: the keyboard has the arrow keys, and so has who hears the page.
    const button = (sign, by) => el("button", { type: "button", tabindex: -1, "aria-hidden": "true", onclick: () => this.step(by) }, sign);
    this.buttons = [button("−", -1), button("+", 1)];
    this.node = el("label", { class: "field", title: help }, el("span", { class: "name" }, label), el("span", { class: "box" }, this.input, this.buttons));
  }

  // `value` null: nothing is known, and nothing can be set.
  show(value, limits) {
    Object.assign(this.limits, limits);
    this.value = value;
    this.node.classList.toggle("off", value === null);
    for (const one of [this.input, ...this.buttons]) one.disabled = value === null;
    this.input.placeholder = value === null ? "–" : "";
    if (!this.typed) this.write(value);
  }

  write(value) { this.input.value = value === null ? "" : value.toFixed(this.digits); }

  commit(stepped = false) {
    if (!this.typed) return;
    this.typed = false;
    const value = this.input.value.trim() === "" ? NaN : Number(this.input.value);
    const { least, most } = this.limits;
    if (Number.isFinite(value)) this.take(Math.min(Math.max(this.digits ? value : Math.round(value), least), most), stepped);
    else this.write(this.value);
  }

  step(by) {
    const now = this.input.value.trim() === "" ? this.value : Number(this.input.value);
    if (now === null || !Number.isFinite(now)) return;
    this.write(Math.min(Math.max(now + by * this.limits.step, this.limits.least), this.limits.most));
    this.typed = true;
    this.commit(true);
  }

  key(event) {
    const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (by) { event.preventDefault(); this.step(by); }
    else if (event.key === "Enter") this.commit();
    else if (event.key === "Escape") { this.typed = false; this.write(this.value); }
  }
}
