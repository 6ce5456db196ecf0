// Building DOM from data, mounting components, and how numbers are written. Text is only ever written as text:
// nothing here reads HTML.

function setAttributes(node, attributes) {
  const named = typeof attributes === "string" ? { class: attributes } : attributes ?? {};
  for (const [name, value] of Object.entries(named)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, entry] of Object.entries(value)) node.style.setProperty(key, entry);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  return node;
}

function build(node, attributes, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return setAttributes(node, attributes);
}

// Elements of HTML and SVG; attributes given as a string are the class.
/** @param {string} tag @param {string | Record<string, any>} [attributes] @param {...any} children @returns {any} */
const el = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
/** @param {string} tag @param {string | Record<string, any>} [attributes] @param {...any} children @returns {any} */
const svg = (tag, attributes, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
/** @param {Record<string, any>} attributes @param {...any} children @returns {any} */
const button = (attributes, ...children) => el("button", { type: "button", ...attributes }, ...children);
const quiet = (...children) => el("span", "quiet", ...children);

const CATEGORIES = ["misaligned", "redundant", "vision-critical"];
const MARKS = { keep: "✓", drop: "✕", unsure: "?" };
const TAKES_KEYS = "[role=listbox],[role=dialog],[role=tablist],[role=slider],[data-testid=stPopoverBody]";

const VN = {
  count: (n) => Math.round(n).toLocaleString("en-US"),
  share: (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "–"),
  /** Write a score in nats per answer token with its sign. */
  score(x, digits = 3) {
    if (x === null || x === undefined) return "–";
    const text = Math.abs(x).toFixed(digits);
    return Number(text) === 0 ? text : (x > 0 ? "+" : "−") + text;
  },
  loss: (x, digits = 3) => (x === null || x === undefined ? "–" : x.toFixed(digits)),
  limit: (x, digits = 4) => String(Number(x.toFixed(digits))).replace("-", "−"),

  /** Return the category of a score, as scoring.necessity defines it: each limit is in the upper category. */
  categoryOf: (x, low, high) => CATEGORIES[x < low ? 0 : x < high ? 1 : 2],
  // A category is never shown by colour alone: its name is next to the swatch.
  swatch: (category) => el("span", { class: `swatch ${category ?? "none"}`, "aria-hidden": "true" }),
  decisionMark: (decision) => MARKS[decision] ? el("span", { class: `mark ${decision}`, title: decision },
    MARKS[decision], el("span", "hidden", decision)) : null,

  /** Whether an element uses the keys itself: text fields, select boxes, sliders, tabs, dialogs. */
  isTextField(target) {
    if (!target?.closest) return false;
    if (target.tagName === "INPUT" && /^(checkbox|radio|button|submit)$/.test(target.type)) return false;
    if (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return true;
    return Boolean(target.closest(TAKES_KEYS));
  },
  hasModifier: (event) => event.ctrlKey || event.metaKey || event.altKey,
  /** Whether Streamlit is idle: an event sent during a rerun would be about the page that is being left. */
  isPageIdle: () =>
    document.querySelector('[data-testid="stApp"]')?.getAttribute("data-test-script-state") === "notRunning",

  async fetchJson(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    return answer.json();
  },
  /** Delete the oldest entries of a map beyond `most`. */
  trim(map, most) {
    for (const key of [...map.keys()].slice(0, Math.max(0, map.size - most))) map.delete(key);
  },

  /** Return a component's default export: a Widget per root, closed when it leaves the page if it has close(). */
  mount(Component) {
    const widgets = new WeakMap();
    return ({ data, parentElement, setStateValue, setTriggerValue }) => {
      const root = parentElement.querySelector(".vn");
      if (!widgets.has(root)) widgets.set(root, new Component(root));
      const widget = widgets.get(root), before = widget.data;
      Object.assign(widget, { data, send: setTriggerValue, setState: setStateValue });
      widget.receive(before);
      return widget.close && (() => { widget.close(); widgets.delete(root); });
    };
  },
};

// Streamlit sets the colour scheme for its app; popovers and dialogs are outside it and get it from the root.
function followColourScheme() {
  const app = document.querySelector(".stApp"), root = document.documentElement;
  if (!app || root.style.colorScheme) return; // another component does it
  const follow = () => { root.style.colorScheme = getComputedStyle(app).colorScheme; };
  new MutationObserver(follow).observe(app, { attributeFilter: ["class"] });
  follow();
}
followColourScheme();

/** What a component shows in its root. receive() is called after each rerun, with the data before it. */
class Widget {
  /** @type {any} */ data = null; // what the page sent last
  /** @type {(name: string, value: any) => void} */ send; // triggers an event in the page
  /** @type {(name: string, value: any) => void} */ setState;

  constructor(root) { this.root = root; }

  /** Whether a value differs from that of the last call. */
  isNew(value) {
    const last = this.version;
    this.version = JSON.stringify(value);
    return this.version !== last;
  }
}
