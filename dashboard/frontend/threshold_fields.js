// A number field with buttons to step and its label above. A typed value counts once Enter is pressed or the
// field is left; Escape restores the previous value.

class NumberField {
  limits = { least: -Infinity, most: Infinity, step: 1 };
  isTyped = false;

  /**
   * `onChange` gets the number, and whether it was reached by a step, so that more steps may follow. A typed number
   * is rounded where it is a count: without digits, unless it `isExact`.
   */
  constructor(label, { digits = 0, isExact = false, help = null, onChange }) {
    this.digits = digits;
    this.isExact = isExact;
    this.onChange = onChange;
    this.input = el("input", {
      type: "number", step: "any", "aria-label": label, title: help, oninput: () => { this.isTyped = true; },
      onchange: () => this.commit(), onkeydown: (event) => this.onKey(event),
    });
    // For the pointer only: keyboards and screen readers have the arrow keys.
    const stepper = (sign, by) => button({ tabindex: -1, "aria-hidden": "true", onclick: () => this.step(by) }, sign);
    this.buttons = [stepper("−", -1), stepper("+", 1)];
    const box = el("span", "box", this.input, this.buttons);
    this.node = el("label", { class: "field", title: help }, el("span", "name", label), box);
  }

  /** Show a value; null is unknown, and nothing can be set. */
  show(value, limits) {
    this.limits = limits;
    this.value = value;
    this.node.classList.toggle("off", value === null);
    for (const control of [this.input, ...this.buttons]) control.disabled = value === null;
    this.input.placeholder = value === null ? "–" : "";
    if (!this.isTyped) this.write(value);
  }

  write(value) { this.input.value = value === null ? "" : value.toFixed(this.digits); }

  commit(isStep = false) {
    if (!this.isTyped) return;
    this.isTyped = false;
    const text = this.input.value.trim();
    const value = text === "" ? NaN : Number(text);
    const { least, most } = this.limits;
    const typed = this.digits || this.isExact ? value : Math.round(value);
    if (!Number.isFinite(value)) this.write(this.value);
    else this.onChange(Math.min(Math.max(typed, least), most), isStep);
  }

  step(by) {
    const now = this.input.value.trim() === "" ? this.value : Number(this.input.value);
    if (now === null || !Number.isFinite(now)) return;
    this.write(Math.min(Math.max(now + by * this.limits.step, this.limits.least), this.limits.most));
    this.isTyped = true;
    this.commit(true);
  }

  onKey(event) {
    const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (by) {
      event.preventDefault();
      this.step(by);
    } else if (event.key === "Enter") this.commit();
    else if (event.key === "Escape") {
      this.isTyped = false;
      this.write(this.value);
    }
  }
}

// The threshold in one of several units: a field per unit, of which the chosen one is shown, and a box to choose.
class ThresholdField {
  /** @param {Record<string, NumberField>} fields by unit, the first one shown @param {Record<string, string>} units */
  constructor(fields, units) {
    const choice = (name) => el("option", { value: name }, units[name]);
    const choose = () => Object.entries(fields).forEach(([name, { node }]) => { node.hidden = name !== unit.value; });
    const unit = el("select", { class: "unit", "aria-label": "Unit of the threshold", onchange: choose },
      Object.keys(fields).map(choice));
    choose();
    this.node = el("div", "threshold", Object.values(fields).map(({ node }) => node), unit);
  }
}
