// Who reviews. The name lies in this browser's localStorage; it is asked for where there is none,
// or when the reader wants another one.

const ASKED = new WeakMap();
const PLACE = "visnec-reviewer";

const remembered = () => { try { return localStorage.getItem(PLACE); } catch { return null; } };
const remember = (name) => { try { localStorage.setItem(PLACE, name); } catch { /* asked again next time */ } };

function form(known, send) {
  const { el } = VN;
  const field = el("input", { id: "vn-reviewer", class: "field", type: "text", maxlength: 80, autocomplete: "off", spellcheck: "false", value: known });
  const begin = el("button", { type: "submit", class: "begin" }, "Begin");
  const check = () => { begin.disabled = !field.value.trim(); };
  field.addEventListener("input", check);
  check();
  return el("form", { class: "ask", onsubmit: (event) => { event.preventDefault(); if (field.value.trim()) send(field.value.trim()); } },
    el("label", { for: "vn-reviewer" }, "Your name"),
    el("p", { class: "quiet" }, "It stands beside every decision you make, so that several people can review the same data. It stays on this machine."),
    el("div", { class: "line" }, field, begin));
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  const state = ASKED.get(root) ?? { shown: null };
  ASKED.set(root, state);
  const shown = JSON.stringify(data);
  if (state.shown === shown) return;
  state.shown = shown;
  if (data.name) {
    remember(data.name);
    root.replaceChildren();
    return;
  }
  const known = remembered() || data.suggested;
  if (known && !data.ask) setTriggerValue("name", known);
  else {
    root.replaceChildren(form(known, (name) => { remember(name); setTriggerValue("name", name); }));
    root.querySelector("input").focus();
  }
}
