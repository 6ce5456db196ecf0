// Building DOM from data, and how numbers are written. Text is only ever written as text: nothing here
// reads HTML.

const VN = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function set(node, attributes) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, entry] of Object.entries(value)) node.style.setProperty(key, entry);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    return node;
  }

  function add(node, children) {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }

  /**
   * @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children
   * @returns {any} an HTML element; null, undefined and false among the children are left out
   */
  const el = (tag, attributes, ...children) => add(set(document.createElement(tag), attributes), children);
  /** @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children @returns {any} */
  const svg = (tag, attributes, ...children) => add(set(document.createElementNS(SVG, tag), attributes), children);

  /** @param {number} n */
  const count = (n) => Math.round(n).toLocaleString("en-US");
  /** @param {number} part @param {number} whole */
  const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "–");
  /** @param {number | null | undefined} x a score in nats per answer token, written with its sign */
  const score = (x, digits = 3) => {
    if (x === null || x === undefined) return "–";
    const text = Math.abs(x).toFixed(digits);
    return Number(text) === 0 ? text : (x > 0 ? "+" : "−") + text;
  };
  /** @param {number | null | undefined} x */
  const loss = (x, digits = 3) => (x === null || x === undefined ? "–" : x.toFixed(digits));
  /** @param {number} x */
  const limit = (x) => String(Math.round(x * 10000) / 10000).replace("-", "−");

  /** Return the category of a score, as scoring.necessity defines it: each limit is in the upper category.
   *
   * @param {number} x @param {number} low @param {number} high
   */
  const categoryOf = (x, low, high) => (x < low ? "misaligned" : x < high ? "redundant" : "vision-critical");

  // A category is never shown by colour alone: its name is next to the swatch.
  const swatch = (category) => el("span", { class: `swatch ${category ?? "none"}`, "aria-hidden": "true" });
  const MARKS = { keep: "✓", drop: "✕", unsure: "?" };
  function decisionMark(decision) {
    if (!MARKS[decision]) return null;
    const name = el("span", { class: "hidden" }, decision);
    return el("span", { class: `mark ${decision}`, title: decision }, MARKS[decision], name);
  }

  const TAKES_KEYS = "[role=listbox],[role=dialog],[role=tablist],[role=slider],[data-testid=stPopoverBody]";

  /** Whether an element uses the keys itself: text fields, select boxes, sliders, tabs, dialogs. */
  function isTextField(target) {
    if (!target?.closest) return false;
    if (target.tagName === "INPUT" && /^(checkbox|radio|button|submit)$/.test(target.type)) return false;
    if (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return true;
    return Boolean(target.closest(TAKES_KEYS));
  }

  /** Whether Streamlit is idle: an event sent during a rerun would be about the page that is being left. */
  const isPageIdle = () =>
    document.querySelector('[data-testid="stApp"]')?.getAttribute("data-test-script-state") === "notRunning";

  return {
    el, svg, set, add, count, share, score, loss, limit, categoryOf, swatch, decisionMark, MARKS, isTextField,
    isPageIdle,
  };
})();
