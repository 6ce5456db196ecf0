// Who reviews. The name lies in this browser's localStorage; it is asked for where there is none,
// or when the reader wants another one.

const ASKED = new WeakMap();
const PLACE = "visnec-reviewer";
const AGAIN_MS = 3000, TRIES = 3; // what is told may be lost on its way

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

// Tells the remembered name, again where the page was drawn and still does not know it; where it is not
// taken, asks for another.
function tell(root, state, name) {
  state.send(name);
  let tries = TRIES;
  const again = () => {
    if (!root.isConnected) return;
    const atRest = document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === "notRunning";
    if (atRest && tries === 0) { ask(root, state, name); return; }
    if (atRest) { tries -= 1; state.send(name); }
    state.timer = setTimeout(again, AGAIN_MS);
  };
  state.timer = setTimeout(again, AGAIN_MS);
}

function ask(root, state, known) {
  root.replaceChildren(form(known, (name) => { remember(name); state.send(name); }));
  root.querySelector("input").focus();
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  const state = ASKED.get(root) ?? { shown: null };
  ASKED.set(root, state);
  state.send = (name) => setTriggerValue("name", name);
  const shown = JSON.stringify(data);
  if (state.shown === shown) return;
  state.shown = shown;
  clearTimeout(state.timer);
  if (data.name) {
    remember(data.name);
    root.replaceChildren();
    return;
  }
  const known = remembered() || data.suggested;
  if (known && !data.ask) tell(root, state, known);
  else ask(root, state, known);
}
