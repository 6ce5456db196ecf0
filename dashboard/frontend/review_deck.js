// The review deck: one sample at a time, one key per decision.
//
// A key decides about the current sample at that moment. The decision is stored in the browser before
// the next sample is drawn, and shown as saved only once the server reports it on disk.

const DECKS = new WeakMap();
const RECENT_SHOWN = 10, MOVE_MS = 500, PREPARE_NEXT_MS = 4;
const PACE_OVER = 20, PACE_LEAST = 5, PAUSE_MS = 120000;
const HELP_TEXT = "Click a key to rebind it (stored in this browser). Each decision is stored in this browser at "
  + "once and shown as saved when the server has it on disk. Undo reverts the latest decision and erases nothing. "
  + "Keys are ignored while you type in a field. ";

const newEventId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

class ReviewDeck {
  constructor(root) {
    this.root = root;
    /** @type {any} what the page sent last */
    this.data = null;
    this.state = DeckState.create();
    this.stored = Promise.resolve();
    this.moments = [];
    this.keymap = new Keymap(localStorage);
    this.loader = new DeckLoader((rows) => this.onLoaded(rows));
    this.sender = new DraftSender(() => this.state.pending, (batch) => this.sendBatch(batch));
    this.build();
    /** @type {[EventTarget, string, (event: any) => void, boolean?][]} */
    this.listeners = [
      [window, "keydown", (event) => this.onKey(event), true],
      [document, "focusin", () => this.drawTyping()],
      [document, "focusout", () => this.drawTyping()],
      [document, "visibilitychange", () => { if (document.hidden && this.hasPending) this.sender.sendNow(); }],
      [window, "beforeunload", (event) => { if (this.hasPending && !this.outbox?.durable) event.preventDefault(); }],
    ];
    for (const [target, ...listener] of this.listeners) target.addEventListener(...listener);
  }

  close() {
    for (const [target, ...listener] of this.listeners) target.removeEventListener(...listener);
    this.sender.close();
    clearTimeout(this.moving);
  }

  get row() { return DeckState.currentRow(this.state); }
  get hasPending() { return this.state.pending.length > 0; }
  get isHidden() { return DeckState.isHidden(this.state, this.row); }
  stamp() { return { eventId: newEventId(), now: Date.now() }; }

  // ---- from the server ------------------------------------------------------------------------

  receive(data, setState, trigger) {
    const isAnswer = this.data?.answered !== data.answered;
    const hasOtherCards = this.loader.address !== data.cards;
    this.data = data;
    this.setState = setState;
    this.trigger = trigger;
    if (hasOtherCards) this.forgetCards();
    if (isAnswer) this.sender.unanswered = 0;
    if (this.state.deck !== data.deck) { this.openDeck(); return; }
    if (!this.state.ready) return;
    this.takeReport();
    if (this.queueKey !== data.queue_key) this.openQueue();
    else if (hasOtherCards) this.draw();
    this.sender.confirm();
    this.drawBar();
  }

  forgetCards() {
    this.loader.reset(this.data.cards);
    this.version = null;
    this.next = null;
  }

  // Drafts of another reviewer stay in that reviewer's outbox until it is opened again.
  async openDeck() {
    const name = this.data.deck;
    this.state = DeckState.switchDeck(this.state, name);
    this.sender.enabled = false;
    this.forgetCards();
    this.outbox = new Outbox(name);
    const drafts = await this.outbox.readAll();
    if (this.state.deck !== name) return;
    this.state = DeckState.open(this.state, drafts);
    Object.assign(this.sender, { enabled: true, inFlight: false });
    this.takeReport();
    this.openQueue();
    if (this.hasPending) this.sender.sendNow();
    this.drawBar();
  }

  takeReport() {
    const before = this.state.pending;
    this.state = DeckState.receive(this.state, this.data);
    const done = before.filter((draft) => !this.state.pending.includes(draft));
    if (done.length) this.outbox.remove(done.map((draft) => draft.event_id));
  }

  openQueue() {
    this.queueKey = this.data.queue_key;
    // Choosing a queue leaves the focus in its select box, where keys would choose again.
    const active = /** @type {HTMLElement} */ (document.activeElement);
    if (active?.closest?.("[data-testid=stSelectbox]")) active.blur();
    this.state = DeckState.openQueue(this.state, this.data);
    this.draw();
  }

  sendBatch(batch) {
    const { deck, pending } = this.state;
    this.setState("outbox", { deck, reviewer: this.data.reviewer, drafts: pending, row: this.row ?? null, n: batch });
    this.drawBar();
  }

  onLoaded(rows) {
    if (!rows || rows.includes(this.row)) this.draw();
    else this.loader.loadImages(this.state.queue, this.state.index);
  }

  // ---- what the reviewer does -----------------------------------------------------------------

  /** Replace the state and store its new drafts; resolves once they are in the browser's storage. */
  change(next) {
    const drafts = next.pending.slice(this.state.pending.length), { outbox } = this;
    this.state = next;
    this.root.dataset.waiting = next.pending.length;
    for (const draft of drafts) this.stored = this.stored.then(() => outbox.put(draft));
    return this.stored;
  }

  async decide(decision) {
    const { row } = this;
    if (row === undefined || !this.state.ready) return;
    if (this.loader.problem && !this.loader.cards.has(row)) {
      this.report("Still loading; no decision was saved.");
    } else if (this.isHidden) {
      this.report(`No decision was saved: reveal the sample first (${this.keymap.label("reveal")}).`);
    } else {
      this.moments.push(Date.now());
      const stored = this.change(DeckState.decide(this.state, this.stamp(), decision));
      this.sender.sendSoon();
      await stored;
      this.draw(`${decision} on row ${VN.count(row)}`);
    }
  }

  async undo() {
    if (!this.state.ready) return;
    const last = DeckState.resolve(this.state).stack.at(-1);
    if (!last) {
      const isLoading = this.data.history.length > 0;
      this.report(isLoading ? "Older decisions are still loading; try again." : "There is nothing to undo.");
      return;
    }
    const stored = this.change(DeckState.undo(this.state, this.stamp()));
    this.sender.sendSoon();
    await stored;
    this.draw(`undone: ${last.decision} on row ${VN.count(last.row_idx)}`);
  }

  step(by) {
    const next = DeckState.step(this.state, by);
    if (next === this.state) return;
    this.state = next;
    this.draw();
    clearTimeout(this.moving);
    this.moving = setTimeout(() => this.sender.sendNow(), MOVE_MS);
  }

  goTo(row) {
    this.state = DeckState.goTo(this.state, row);
    this.draw();
  }

  saveNote(row, text) {
    if (!this.state.ready || !Number.isInteger(row) || text.trim() === this.noteOf(row)) return;
    this.change(DeckState.writeNote(this.state, this.stamp(), row, text.trim()));
    this.sender.sendNow();
    this.drawBar();
  }

  noteOf(row) {
    const decisions = this.loader.cards.get(row)?.decisions;
    const own = decisions?.find((decision) => decision.reviewer === this.data.reviewer);
    return DeckState.noteOf(this.state, row, own?.note);
  }

  reveal() {
    const next = DeckState.reveal(this.state);
    if (next === this.state) return;
    this.state = next;
    this.draw("revealed");
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (VN.isTextField(event.composedPath()[0])) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = this.keymap.actionFor(key);
    if (event.repeat && !["previous", "next"].includes(action)) return;
    if (this.keymap.rebinding) {
      if (!this.keymap.bind(key)) return;
      this.drawKeys();
    } else if (action) this.actions[action]();
    else if (key === "Escape" && !this.help.hidden) this.toggleHelp();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  // ---- drawing --------------------------------------------------------------------------------

  build() {
    const { el } = VN;
    this.actions = {
      keep: () => this.decide("keep"), drop: () => this.decide("drop"), unsure: () => this.decide("unsure"),
      undo: () => this.undo(), previous: () => this.step(-1), next: () => this.step(1), reveal: () => this.reveal(),
      note: () => this.note.focus(), help: () => this.toggleHelp(),
    };
    const button = (kind, label, action) =>
      el("button", { type: "button", class: kind, "data-action": action, onclick: () => this.actions[action]() },
        label, el("kbd", {}));
    this.count = el("span", { class: "count" });
    this.filled = el("span", { class: "filled" });
    this.saved = el("span", { class: "saved", role: "status" });
    this.typing = el("span", { class: "keys quiet" });
    this.last = el("span", { class: "last quiet" });
    this.note = el("input", {
      class: "note-field", type: "text", maxlength: 2000, "aria-label": "Note on this sample",
      onblur: () => this.saveNote(Number(this.note.dataset.row), this.note.value),
      onkeydown: (event) => {
        if (event.key === "Escape") this.note.value = this.noteOf(this.row);
        if (event.key === "Enter" || event.key === "Escape") this.note.blur();
      },
    });
    this.help = el("div", { class: "help", hidden: true, role: "region", "aria-label": "Keys" });
    this.card = el("div", { class: "place" }, el("div", { class: "waiting quiet" }, "Opening the queue …"));
    this.recent = el("section", { class: "recent", "aria-label": "Last decisions" });
    this.buttons = el("div", { class: "buttons", role: "toolbar", "aria-label": "Decisions" },
      button("move", "Previous", "previous"), button("reveal", "Reveal", "reveal"), button("keep", "Keep", "keep"),
      button("drop", "Drop", "drop"), button("unsure", "Unsure", "unsure"), button("undo", "Undo", "undo"),
      button("move", "Next", "next"), button("more", "Help", "help"), this.note);
    const track = el("span", { class: "track" }, this.filled);
    const status = el("div", { class: "status" }, this.count, track, this.saved, this.last, this.typing);
    this.root.replaceChildren(el("div", { class: "top" }, status, this.buttons, this.help), this.card, this.recent);
    this.drawKeys();
  }

  toggleHelp() {
    this.help.hidden = !this.help.hidden;
    if (this.help.hidden) this.keymap.startRebinding(null);
    this.drawKeys();
  }

  // The keys on the buttons and in the help; a click on one in the help waits for another key.
  drawKeys() {
    const { el } = VN, { keymap } = this;
    for (const button of this.buttons.querySelectorAll("button[data-action]")) {
      const label = keymap.label(button.dataset.action);
      button.querySelector("kbd").textContent = label;
      button.setAttribute("aria-keyshortcuts", label);
    }
    this.note.placeholder = `Note (${keymap.label("note")})`;
    const rebind = (event, action) => {
      event.currentTarget.blur();
      keymap.startRebinding(action);
      this.drawKeys();
    };
    const keyButton = (action, meaning) => el("button", {
      type: "button", class: "key-of", title: "Change this key", onclick: (event) => rebind(event, action),
      "aria-label": `${meaning}: ${keymap.label(action)}; change`,
    }, keymap.rebinding === action
      ? el("kbd", { class: "asked" }, "press a key") : el("kbd", {}, keymap.label(action)));
    const line = (key, meaning) => el("div", {}, el("dt", {}, key), el("dd", {}, meaning));
    const reset = () => { keymap.reset(); this.drawKeys(); };
    this.help.replaceChildren(
      el("dl", {},
        Object.entries(KEY_MEANINGS).map(([action, meaning]) => line(keyButton(action, meaning), meaning)),
        line(el("kbd", {}, "Esc"), "leave a field")),
      el("p", { class: "quiet" }, keymap.problem ?? HELP_TEXT, keymap.isChanged
        ? el("button", { type: "button", class: "plain-link", onclick: reset }, "Restore default keys") : null));
  }

  report(text) { this.last.textContent = text; }

  drawTyping() {
    let active = document.activeElement;
    while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
    this.typing.textContent = VN.isTextField(active) ? "keys are ignored while you type" : "";
  }

  draw(message = null) {
    if (!this.state.ready) return;
    if (message !== null) this.report(message);
    this.loader.load(this.state.queue, this.state.index);
    this.drawBar();
    const { row } = this;
    const card = this.loader.cards.get(row);
    this.root.dataset.row = row ?? "";
    if (row === undefined) this.showEnd();
    else if (card) this.show(this.cardVersion(row), () => this.renderCard(card));
    else this.show(`waiting-${row}`, () => VN.el("div", { class: "waiting quiet" }, this.loadingText()));
    this.drawNote(row);
  }

  loadingText() {
    const { problem } = this.loader;
    return problem ? `The sample could not be loaded (${problem}); retrying …` : "Loading the sample …";
  }

  drawNote(row) {
    const isOther = Number(this.note.dataset.row) !== row;
    if (isOther) this.note.dataset.row = row ?? "";
    const isFocused = document.activeElement?.shadowRoot?.activeElement === this.note;
    if (isOther || !isFocused) this.note.value = row === undefined ? "" : this.noteOf(row);
    this.note.disabled = row === undefined;
  }

  cardVersion(row) { return `card-${row}-${DeckState.isHidden(this.state, row)}`; }

  show(version, render) {
    if (this.version === version && !version.startsWith("waiting")) return;
    this.version = version;
    this.card.replaceChildren(this.next?.version === version ? this.next.node : render());
    this.next = null;
    setTimeout(() => this.prepareNext(), PREPARE_NEXT_MS);
  }

  // Render the following card and decode its image while the reviewer looks at this one.
  prepareNext() {
    const row = this.state.queue[this.state.index + 1];
    const card = this.loader.cards.get(row);
    if (!card || this.next?.version === this.cardVersion(row)) return;
    this.next = { version: this.cardVersion(row), node: this.renderCard(card) };
    for (const image of this.next.node.querySelectorAll("img.picture")) image.decode().catch(() => {});
  }

  // Other people's decisions are not shown: they would influence this one.
  renderCard(card) {
    if (DeckState.isHidden(this.state, card.row_idx)) {
      return Card.renderBlind(card, this.keymap.label("reveal"), () => this.reveal());
    }
    const neighbours = card.neighbours.map((neighbour) => ({ ...neighbour, decision: null }));
    const node = Card.render({ ...card, decisions: [], neighbours });
    const link = { class: "explore", href: `${this.data.explore}${card.row_idx}`, target: "_blank", rel: "noopener" };
    node.querySelector(".heading").append(VN.el("a", link, "Open in Explore ↗"));
    return node;
  }

  showEnd() {
    const { el } = VN, { length } = this.state.queue;
    const advice = "No sample matches. Choose another order or filter, or include decided samples.";
    this.show(`end-${this.queueKey}-${length}`, () => el("div", { class: "end" },
      el("b", {}, length ? "This queue is done." : "This queue is empty."),
      el("p", { class: "quiet" }, length ? "You have seen every sample in it." : advice),
      el("button", { type: "button", class: "more", onclick: () => this.trigger("rebuild", Date.now()) },
        "Look for more samples")));
  }

  drawRecent(stack) {
    const { el } = VN;
    const version = JSON.stringify(stack.map((entry) => [entry.row_idx, entry.decision]));
    if (version === this.root.dataset.history) return;
    this.root.dataset.history = version;
    const item = ({ row_idx, decision }) => {
      const name = `row ${VN.count(row_idx)}`;
      const onclick = () => this.goTo(row_idx);
      return el("li", {}, el("button", { type: "button", title: `Go back to ${name}`, onclick },
        VN.decisionMark(decision), name));
    };
    const recent = stack.slice(-RECENT_SHOWN).reverse();
    this.recent.replaceChildren(
      ...(recent.length ? [el("h3", {}, "Last decisions"), el("ul", {}, recent.map(item))] : []));
  }

  // Decisions per minute over the latest ones, without pauses, and the minutes that the rest will take.
  paceText(left) {
    const latest = this.moments.slice(-PACE_OVER - 1);
    const gaps = latest.slice(1).map((moment, i) => moment - latest[i]).filter((gap) => gap < PAUSE_MS);
    if (gaps.length < PACE_LEAST) return "";
    const each = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const minutes = Math.ceil((each * left) / 60000);
    const rest = left ? `, about ${VN.count(minutes)} min left` : "";
    return ` · ${Math.round(60000 / Math.max(each, 1))} per minute${rest}`;
  }

  drawBar() {
    if (!this.data) return;
    const { queue, index, pending } = this.state;
    const { decided, stack } = DeckState.resolve(this.state);
    const here = queue.filter((row) => decided.has(row)).length;
    const position = VN.count(Math.min(index + 1, queue.length));
    const coverage = this.data.said ? ` (${this.data.said})` : "";
    const total = `${VN.count(this.data.n_decided)} by ${this.data.reviewer} in total`;
    const totals = ` · ${VN.count(here)} decided here · ${total}`;
    this.count.replaceChildren(VN.el("b", {}, position), ` of ${VN.count(queue.length)}${coverage}`,
      VN.el("span", { class: "quiet" }, totals + this.paceText(queue.length - here)));
    this.filled.style.width = queue.length ? `${(100 * here) / queue.length}%` : "0";
    this.root.dataset.waiting = pending.length;
    this.root.dataset.decided = here;
    this.drawRecent(stack);
    this.drawSaved(pending.length);
    this.drawButtons(decided.get(this.row), stack.length > 0);
  }

  drawSaved(waiting) {
    const { problem } = this.state, away = this.sender.isServerAway, isDurable = this.outbox?.durable;
    const decisions = `${VN.count(waiting)} ${waiting === 1 ? "decision is" : "decisions are"}`;
    const place = isDurable ? "in this browser" : "in this page only: do not close it";
    const warning = isDurable ? "" : " (this browser stores nothing: do not close the page yet)";
    this.saved.className = `saved ${problem || away ? "problem" : waiting ? "waiting" : "done"}`;
    if (away) this.saved.textContent = `Server unreachable. ${decisions} stored ${place}; retrying …`;
    else if (problem) this.saved.textContent = `Not saved: ${problem}`;
    else if (waiting) this.saved.textContent = `saving ${waiting} …${warning}`;
    else this.saved.textContent = "all saved";
  }

  drawButtons(decision, canUndo) {
    for (const button of this.buttons.querySelectorAll("button.keep, button.drop, button.unsure")) {
      const isChosen = button.classList.contains(decision ?? "-");
      button.classList.toggle("chosen", isChosen);
      button.setAttribute("aria-pressed", isChosen);
      button.disabled = this.row === undefined;
    }
    const reveal = this.buttons.querySelector("button.reveal");
    reveal.hidden = !this.state.blind;
    reveal.disabled = !this.isHidden;
    this.buttons.querySelector("button.undo").disabled = !canUndo;
  }
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  let deck = DECKS.get(root);
  if (!deck) {
    deck = new ReviewDeck(root);
    DECKS.set(root, deck);
  }
  deck.receive(data, setStateValue, setTriggerValue);
  return () => { deck.close(); DECKS.delete(root); };
}
