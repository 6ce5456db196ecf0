// The help of the review deck: every key with its meaning. A click on a key waits for another one.

const HELP_TEXT = "Click a key to rebind it (stored in this browser). Each decision is stored in this browser at "
  + "once and shown as saved when the server has it on disk. Undo reverts the latest decision and erases nothing. "
  + "Keys are ignored while you type in a field. ";

/** @param {Keymap} keymap @param {() => void} onChange called after a click, when the keys have to be drawn again */
function renderKeyHelp(keymap, onChange) {
  const rebind = (event, action) => {
    event.currentTarget.blur();
    keymap.startRebinding(action);
    onChange();
  };
  const keyButton = (action, meaning) => button({
    class: "key-of", title: "Change this key", onclick: (event) => rebind(event, action),
    "aria-label": `${meaning}: ${keymap.label(action)}; change`,
  }, keymap.rebinding === action
    ? el("kbd", "asked", "press a key") : el("kbd", {}, keymap.label(action)));
  const line = (key, meaning) => el("div", {}, el("dt", {}, key), el("dd", {}, meaning));
  const reset = () => { keymap.reset(); onChange(); };
  return [
    el("dl", {},
      Object.entries(KEY_MEANINGS).map(([action, meaning]) => line(keyButton(action, meaning), meaning)),
      line(el("kbd", {}, "⇧"), "with keep, drop or unsure: all near-duplicates of the sample too"),
      line(el("kbd", {}, "Esc"), "leave a field")),
    el("p", "quiet", keymap.problem ?? HELP_TEXT, keymap.isChanged
      ? button({ class: "plain-link", onclick: reset }, "Restore default keys") : null)];
}
