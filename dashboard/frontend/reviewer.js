// The reviewer's name. It is stored in this browser's localStorage; a form asks for it where there is none,
// or when the reader wants another one.

const REVIEWERS = new WeakMap();
const NAME_STORED_AS = "visnec-reviewer";
const RETRY_MS = 3000, TRIES = 3; // an event can be lost while the page reruns

const readName = () => { try { return localStorage.getItem(NAME_STORED_AS); } catch { return null; } };
const storeName = (name) => { try { localStorage.setItem(NAME_STORED_AS, name); } catch { /* asked for next time */ } };

function renderForm(known, send) {
  const { el } = VN;
  const field = el("input", {
    id: "vn-reviewer", class: "field", type: "text", maxlength: 80, autocomplete: "off", spellcheck: "false",
    value: known, oninput: () => { button.disabled = !field.value.trim(); },
  });
  const button = el("button", { type: "submit", class: "begin", disabled: !field.value.trim() }, "Start");
  const onsubmit = (event) => {
    event.preventDefault();
    if (field.value.trim()) send(field.value.trim());
  };
  return el("form", { class: "ask", onsubmit },
    el("label", { for: "vn-reviewer" }, "Your name"),
    el("p", { class: "quiet" }, "Your name is stored with each decision in the workspace, so several people can review "
      + "the same data. This browser remembers it."),
    el("div", { class: "line" }, field, button));
}

// Send the stored name, and again while the page is idle without it; where the page never takes it, ask.
function sendName(root, state, name) {
  state.send(name);
  let tries = TRIES;
  const retry = () => {
    if (!root.isConnected) return;
    if (VN.isPageIdle()) {
      if (tries === 0) { askForName(root, state, name); return; }
      tries -= 1;
      state.send(name);
    }
    state.timer = setTimeout(retry, RETRY_MS);
  };
  state.timer = setTimeout(retry, RETRY_MS);
}

function askForName(root, state, known) {
  root.replaceChildren(renderForm(known, (name) => { storeName(name); state.send(name); }));
  root.querySelector("input").focus();
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  const state = REVIEWERS.get(root) ?? { shown: null };
  REVIEWERS.set(root, state);
  state.send = (name) => setTriggerValue("name", name);
  const shown = JSON.stringify(data);
  if (state.shown === shown) return;
  state.shown = shown;
  clearTimeout(state.timer);
  if (data.name) {
    storeName(data.name);
    root.replaceChildren();
    return;
  }
  const known = readName() || data.suggested;
  if (known && !data.ask) sendName(root, state, known);
  else askForName(root, state, known);
}
