// Building DOM from data. Text is only ever written as text: nothing here reads HTML.

const VN = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function set(node, attributes) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
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

  const el = (tag, attributes, ...children) => add(set(document.createElement(tag), attributes), children);
  const svg = (tag, attributes, ...children) => add(set(document.createElementNS(SVG, tag), attributes), children);

  const minus = (text) => text.replace("-", "−");
  const count = (n) => Math.round(n).toLocaleString("en-US");
  const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "–");
  const score = (x, digits = 3) => {
    if (x === null || x === undefined) return "–";
    const text = Math.abs(x).toFixed(digits);
    return Number(text) === 0 ? text : (x > 0 ? "+" : "−") + text;
  };
  const loss = (x, digits = 3) => (x === null || x === undefined ? "–" : x.toFixed(digits));
  const limit = (x) => minus(String(Math.round(x * 10000) / 10000));

  // A category is never told by colour alone: its name stands beside the swatch.
  const swatch = (category) => el("span", { class: `swatch ${category ?? "none"}`, "aria-hidden": "true" });
  const MARKS = { keep: "✓", drop: "✕", unsure: "?" };
  function decisionMark(decision) {
    if (!MARKS[decision]) return null;
    return el("span", { class: `mark ${decision}`, title: decision }, MARKS[decision], el("span", { class: "hidden" }, decision));
  }

  return { el, svg, set, add, count, share, score, loss, limit, swatch, decisionMark, MARKS };
})();
