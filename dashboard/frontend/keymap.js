// Which key does what in the review deck. A person's own choice is stored in this browser.

const KEYS_STORED_AS = "visnec-review-keys";
const DEFAULT_KEYS = { keep: "k", drop: "d", unsure: "u", undo: "z", previous: "ArrowLeft", next: "ArrowRight",
  reveal: "v", note: "n", edit: "e", focus: "f", help: "?" };
const KEY_MEANINGS = {
  keep: "keep", drop: "drop", unsure: "unsure", undo: "undo the last decision", previous: "back without deciding",
  next: "skip without deciding", reveal: "reveal a hidden sample", note: "write a note",
  edit: "edit the record", focus: "image and text over the whole window, or back", help: "show or hide this help",
};
const GROUP_ACTIONS = { keep: "keepGroup", drop: "dropGroup", unsure: "unsureGroup" }; // with Shift
const KEY_SYMBOLS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" };
const MODIFIER_KEYS = ["Shift", "Control", "Alt", "Meta", "CapsLock", "AltGraph", "Dead", "Tab"];

class Keymap {
  /** @type {string | null} */ rebinding = null; // the action whose new key is awaited
  /** @type {string | null} */ problem = null;

  /** @param {Pick<Storage, "getItem" | "setItem">} storage */
  constructor(storage) {
    this.storage = storage;
    /** @type {Record<string, string>} action to key */
    this.keys = { ...DEFAULT_KEYS, ...this.readStored() };
  }

  readStored() {
    try {
      const stored = Object.entries(JSON.parse(this.storage.getItem(KEYS_STORED_AS) ?? "{}"));
      return Object.fromEntries(stored.filter(([action, key]) => action in DEFAULT_KEYS && this.isUsable(key)));
    } catch { return {}; }
  }

  isUsable(key) {
    return typeof key === "string" && (key in KEY_SYMBOLS || (key.length === 1 && key.trim() !== ""));
  }

  /** The action of a key; Shift and a letter that decides is a decision on the group. */
  actionFor(key, isShifted = false) {
    const action = this.findAction(key);
    return isShifted && this.groupLabel(action) ? GROUP_ACTIONS[action] : action;
  }

  /** The keys of a decision on the group; none where Shift types another character. */
  groupLabel(action) {
    const isLetter = action in GROUP_ACTIONS && /^\p{L}$/u.test(this.keys[action]);
    return isLetter ? `⇧${this.label(action)}` : null;
  }

  findAction(key) { return Object.keys(this.keys).find((action) => this.keys[action] === key); }
  label(action) { return KEY_SYMBOLS[this.keys[action]] ?? this.keys[action].toUpperCase(); }
  get isChanged() { return Object.keys(DEFAULT_KEYS).some((action) => this.keys[action] !== DEFAULT_KEYS[action]); }
  startRebinding(action) { this.rebinding = action; this.problem = null; }

  reset() {
    this.keys = { ...DEFAULT_KEYS };
    this.startRebinding(null);
    this.save();
  }

  /**
   * Bind the key that was pressed to the awaited action. A key in use swaps places with the old one.
   * Returns false for a modifier, after which the key itself is still awaited.
   */
  bind(key) {
    const action = this.rebinding;
    if (!action || MODIFIER_KEYS.includes(key)) return false;
    this.startRebinding(null);
    if (key === "Escape") return true;
    if (this.isUsable(key)) {
      const other = this.findAction(key);
      if (other) this.keys[other] = this.keys[action];
      this.keys[action] = key;
      this.save();
    } else this.problem = `${key} cannot be used. Choose a letter, a digit, a symbol, Space or an arrow. `;
    return true;
  }

  save() {
    try {
      this.storage.setItem(KEYS_STORED_AS, JSON.stringify(this.keys));
    } catch {
      this.problem = "This browser stores nothing: the keys last until the page is closed. ";
    }
  }
}
