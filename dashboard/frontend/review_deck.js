// The review deck: one sample at a time, one key per decision. A key decides on the current sample at that
// moment. The decision is stored in the browser before the next sample is drawn, and shown as saved only once the
// server reports it on disk.

const MOVE_MS = 500, PREPARE_NEXT_MS = 4;

class ReviewDeck extends Widget {
  state = new DeckState();
  stored = Promise.resolve();
  pace = new Pace();
  keymap = new Keymap(localStorage);
  loader = new DeckLoader((rows) => {
    if (!rows || rows.includes(this.row)) this.draw();
    else this.loader.loadImages(this.state.queue, this.state.index);
  });
  sender = new DraftSender(() => this.state.pending, (n) => {
    const { deck, pending: drafts } = this.state;
    this.setState("outbox", { deck, reviewer: this.data.reviewer, drafts, row: this.row ?? null, n });
    this.drawBar();
  });
  closing = new AbortController();

  constructor(root) {
    super(root);
    this.actions = {
      keep: () => this.decide("keep"), drop: () => this.decide("drop"), unsure: () => this.decide("unsure"),
      keepGroup: () => this.decideGroup("keep"), dropGroup: () => this.decideGroup("drop"),
      unsureGroup: () => this.decideGroup("unsure"),
      undo: () => this.undo(), previous: () => this.step(-1), next: () => this.step(1), note: () => this.note.focus(),
      reveal: () => this.go(this.state.reveal(), "revealed"), help: () => this.toggleHelp(),
      focus: () => this.toggleFocus(), edit: () => this.edit(),
    };
    this.build();
    /** @type {(target: EventTarget, name: string, listener: (event: any) => void, capture?: boolean) => void} */
    const on = (target, name, listener, capture = false) =>
      target.addEventListener(name, listener, { capture, signal: this.closing.signal });
    on(window, "keydown", (event) => this.onKey(event), true);
    for (const name of ["focusin", "focusout"]) on(document, name, () => this.drawTyping());
    on(document, "visibilitychange", () => { if (document.hidden && this.hasPending) this.sender.sendNow(); });
    on(window, "beforeunload", (event) => { if (this.hasPending && !this.outbox?.durable) event.preventDefault(); });
  }

  close() {
    this.closing.abort();
    this.sender.close();
    clearTimeout(this.moving);
  }

  get row() { return this.state.row; }
  get hasPending() { return this.state.pending.length > 0; }

  // ---- from the server ------------------------------------------------------------------------

  receive(before) {
    const { data } = this;
    const isAnswer = before?.answered !== data.answered;
    const hasOtherCards = this.loader.address !== data.cards;
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
    this.forgetCard();
  }

  // Render the card on show again when it is drawn next.
  forgetCard() {
    this.version = null;
    this.next = null;
  }

  // Drafts of another reviewer stay in that reviewer's outbox until it is opened again.
  async openDeck() {
    const name = this.data.deck;
    this.state = this.state.switchDeck(name);
    this.sender.enabled = false;
    this.forgetCards();
    this.outbox = new Outbox(name);
    const drafts = await this.outbox.readAll();
    if (this.state.deck !== name) return;
    this.state = this.state.open(drafts);
    Object.assign(this.sender, { enabled: true, inFlight: false });
    this.takeReport();
    this.openQueue();
    if (this.hasPending) this.sender.sendNow();
    this.drawBar();
  }

  takeReport() {
    const before = this.state.pending;
    this.state = this.state.receive(this.data);
    const done = before.filter((draft) => !this.state.pending.includes(draft));
    if (done.length) this.outbox.remove(done.map((draft) => draft.event_id));
    const { skipped = {} } = this.data.receipt ?? {};
    const kept = done.reduce((sum, draft) => sum + (skipped[draft.event_id] ?? 0), 0);
    if (kept) this.report(`${VN.count(kept)} of the near-duplicates had your decision already and keep it`);
  }

  openQueue() {
    this.queueKey = this.data.queue_key;
    // Choosing a queue leaves the focus in its select box, where keys would choose again.
    const active = /** @type {HTMLElement} */ (document.activeElement);
    if (active?.closest?.("[data-testid=stSelectbox]")) active.blur();
    this.state = this.state.openQueue(this.data);
    this.draw();
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

  /** Decide on the current sample and on all samples of the group of near-duplicates on its card. */
  decideGroup(decision) {
    const card = this.loader.cards.get(this.row), group = GroupBar.groupOf(card);
    if (this.row !== undefined && !card) this.report("Still loading; no decision was saved.");
    else if (group && !GroupBar.isComplete(group)) {
      this.report(`No decision was saved: ${VN.count(group.n_samples)} samples are too many for one decision.`);
    } else this.decide(decision, GroupBar.othersOf(card));
  }

  async decide(decision, duplicates = []) {
    const { row } = this;
    if (row === undefined || !this.state.ready) return;
    if (this.loader.problem && !this.loader.cards.has(row)) {
      this.report("Still loading; no decision was saved.");
    } else if (this.state.isHidden()) {
      this.report(`No decision was saved: reveal the sample first (${this.keymap.label("reveal")}).`);
    } else {
      this.pace.add(Date.now());
      const stored = this.change(this.state.decide(newStamp(), decision, duplicates));
      const others = this.state.pending.at(-1).others?.length ?? 0;
      const nSkipped = duplicates.length - others;
      this.sender.sendSoon();
      await stored;
      this.draw(decisionText({ decision, row_idx: row, others })
        + (nSkipped ? `; ${VN.count(nSkipped)} had your decision already` : ""));
    }
  }

  async undo() {
    if (!this.state.ready) return;
    const last = this.state.resolve().stack.at(-1);
    if (!last) {
      const isLoading = this.data.history.length > 0;
      this.report(isLoading ? "Older decisions are still loading; try again." : "There is nothing to undo.");
      return;
    }
    const stored = this.change(this.state.undo(newStamp()));
    this.sender.sendSoon();
    await stored;
    this.draw(`undone: ${decisionText({ ...last, others: Object.keys(last.others ?? {}).length })}`);
  }

  // The form is a dialog of the page, which takes the keys while it is open.
  edit() {
    if (this.root.popover) this.toggleFocus(); // the form would open below
    if (this.row === undefined) return;
    if (this.state.isHidden()) this.report(`Reveal the sample first (${this.keymap.label("reveal")}).`);
    else this.send("edit", { row: this.row, n: Date.now() });
  }

  // Draw another state, one without new drafts.
  go(next, message = null) {
    if (next === this.state) return;
    this.state = next;
    this.draw(message);
  }

  step(by) {
    const { row } = this;
    this.go(this.state.step(by));
    if (row === this.row) return;
    clearTimeout(this.moving);
    this.moving = setTimeout(() => this.sender.sendNow(), MOVE_MS);
  }

  saveNote(row, text) {
    if (!this.state.ready || !Number.isInteger(row) || text.trim() === this.noteOf(row)) return;
    this.change(this.state.writeNote(newStamp(), row, text.trim()));
    this.sender.sendNow();
    this.drawBar();
  }

  noteOf(row) {
    const decisions = this.loader.cards.get(row)?.decisions;
    const own = decisions?.find((decision) => decision.reviewer === this.data.reviewer);
    return this.state.noteOf(row, own?.note);
  }

  onKey(event) {
    if (VN.hasModifier(event) || event.isComposing || VN.isTextField(event.composedPath()[0])) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = this.keymap.actionFor(key, event.shiftKey);
    if (event.repeat && !["previous", "next"].includes(action)) return;
    if (this.keymap.rebinding) {
      if (!this.keymap.bind(key)) return;
      this.drawKeys();
      this.draw();
    } else if (action) this.actions[action]();
    else if (key === "Escape" && !this.help.hidden) this.toggleHelp();
    else if (key === "Escape" && this.root.popover) this.toggleFocus();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  // ---- drawing --------------------------------------------------------------------------------

  build() {
    const action = (name, label, kind = name) =>
      button({ class: kind, "data-action": name, onclick: () => this.actions[name]() }, label, el("kbd", {}));
    this.count = el("span", "count");
    this.filled = el("span", "filled");
    this.saved = el("span", { class: "saved", role: "status" });
    this.typing = el("span", "keys quiet");
    this.last = el("span", "last quiet");
    this.note = el("input", {
      class: "note-field", type: "text", maxlength: 2000, "aria-label": "Note on this sample",
      onblur: () => this.saveNote(Number(this.note.dataset.row), this.note.value),
      onkeydown: (event) => {
        if (event.key === "Escape") this.note.value = this.noteOf(this.row);
        if (event.key === "Enter" || event.key === "Escape") this.note.blur();
      },
    });
    this.help = el("div", { class: "help", hidden: true, role: "region", "aria-label": "Keys" });
    this.card = el("div", "place", el("div", "waiting quiet", "Opening the queue …"));
    this.recent = el("section", { class: "recent", "aria-label": "Last decisions" });
    this.buttons = el("div", { class: "buttons", role: "toolbar", "aria-label": "Decisions" },
      action("previous", "Previous", "move"), action("reveal", "Reveal"), action("keep", "Keep"),
      action("drop", "Drop"), action("unsure", "Unsure"), action("undo", "Undo"),
      action("next", "Next", "move"), action("focus", "Focus", "more"), action("help", "Help", "more"), this.note);
    const track = el("span", "track", this.filled);
    const status = el("div", "status", this.count, track, this.saved, this.last, this.typing);
    this.root.replaceChildren(el("div", "top", status, this.buttons, this.help), this.card, this.recent);
    this.drawKeys();
  }

  toggleHelp() {
    this.help.hidden = !this.help.hidden;
    if (this.help.hidden) this.keymap.startRebinding(null);
    this.drawKeys();
  }

  // A popover is above everything else on the page and has the size of the window.
  toggleFocus() {
    this.root.popover = this.root.popover ? null : "manual";
    if (this.root.popover) this.root.showPopover();
  }

  // The keys on the buttons and in the help; a click on one in the help waits for another key.
  drawKeys() {
    const { keymap } = this;
    for (const node of this.buttons.querySelectorAll("button[data-action]")) {
      const label = keymap.label(node.dataset.action);
      node.querySelector("kbd").textContent = label;
      node.setAttribute("aria-keyshortcuts", label);
    }
    this.note.placeholder = `Note (${keymap.label("note")})`;
    this.help.replaceChildren(...renderKeyHelp(keymap, () => this.drawKeys()));
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
    const { problem } = this.loader;
    const waiting = problem ? `The sample could not be loaded (${problem}); retrying …` : "Loading the sample …";
    this.root.dataset.row = row ?? "";
    if (row === undefined) this.showEnd();
    else if (card) this.show(this.cardVersion(row), () => this.renderCard(card));
    else this.show(`waiting-${row}`, () => el("div", "waiting quiet", waiting));
    const isOther = Number(this.note.dataset.row) !== row;
    if (isOther) this.note.dataset.row = row ?? "";
    const isFocused = document.activeElement?.shadowRoot?.activeElement === this.note;
    if (isOther || !isFocused) this.note.value = row === undefined ? "" : this.noteOf(row);
    this.note.disabled = row === undefined;
  }

  cardVersion(row) {
    const group = GroupBar.versionOf(this.loader.cards.get(row), this.keymap, this.state);
    return `card-${row}-${this.state.isHidden(row)}-${group}`;
  }

  show(version, render) {
    if (this.version === version && !version.startsWith("waiting")) return;
    this.version = version;
    this.card.replaceChildren(this.next?.version === version ? this.next.node : render());
    this.next = null;
    setTimeout(() => this.prepareNext(), PREPARE_NEXT_MS);
  }

  // Render the following card and decode its image while the reviewer looks at this one.
  prepareNext() {
    const row = this.state.queue[this.state.nextIndex()];
    const card = this.loader.cards.get(row);
    if (!card || this.next?.version === this.cardVersion(row)) return;
    this.next = { version: this.cardVersion(row), node: this.renderCard(card) };
    for (const image of this.next.node.querySelectorAll("img.picture")) image.decode().catch(() => {});
  }

  // Other people's decisions are not shown: they would influence this one.
  renderCard(card) {
    if (this.state.isHidden(card.row_idx)) {
      return Card.renderBlind(card, this.keymap.label("reveal"), this.actions.reveal);
    }
    const neighbours = card.neighbours.map((neighbour) => ({ ...neighbour, decision: null }));
    const node = Card.render({ ...card, decisions: [], neighbours });
    const link = { class: "explore", href: `${this.data.explore}${card.row_idx}`, target: "_blank", rel: "noopener" };
    const edit = { class: "plain-link", onclick: () => this.edit() };
    node.querySelector(".heading").append(button(edit, "Edit the record"), el("a", link, "Open in Explore ↗"));
    const group = GroupBar.render(card, this.keymap, this.state, {
      decide: (decision) => this.decideGroup(decision), choose: () => { this.forgetCard(); this.draw(); },
    });
    if (group) node.querySelector(".heading").after(group);
    return node;
  }

  showEnd() {
    const { length } = this.state.queue;
    const advice = "No sample matches. Choose another order or filter, or include decided samples.";
    this.show(`end-${this.queueKey}-${length}`, () => el("div", "end",
      el("b", {}, length ? "This queue is done." : "This queue is empty."),
      el("p", "quiet", length ? "You have seen every sample in it." : advice),
      button({ class: "more", onclick: () => this.send("rebuild", Date.now()) }, "Look for more samples")));
  }

  drawRecent(stack) {
    const version = JSON.stringify(stack.map((entry) => [entry.row_idx, entry.decision]));
    if (version === this.root.dataset.history) return;
    this.root.dataset.history = version;
    this.recent.replaceChildren(...renderRecent(stack, (row) => this.go(this.state.goTo(row))));
  }

  drawBar() {
    if (!this.data) return;
    const { queue, index, pending } = this.state;
    const { decided, stack } = this.state.resolve();
    const { here, tally } = countDecisions(queue, decided);
    const position = VN.count(Math.min(index + 1, queue.length));
    const coverage = this.data.said ? ` (${this.data.said})` : "";
    const total = `${VN.count(this.data.n_decided)} by ${this.data.reviewer} in total`;
    const totals = ` · ${VN.count(here)} decided here${tally} · ${total}`;
    this.count.replaceChildren(el("b", {}, position), ` of ${VN.count(queue.length)}${coverage}`,
      quiet(totals + this.pace.describe(queue.length - here)));
    this.filled.style.width = queue.length ? `${(100 * here) / queue.length}%` : "0";
    this.root.dataset.waiting = pending.length;
    this.root.dataset.decided = here;
    this.drawRecent(stack);
    this.drawSaved(pending.length);
    this.drawButtons(decided.get(this.row), stack.length > 0);
  }

  drawSaved(waiting) {
    const { problem } = this.state, isAway = this.sender.isServerAway;
    this.saved.className = `saved ${problem || isAway ? "problem" : waiting ? "waiting" : "done"}`;
    this.saved.textContent = describeSaved({ waiting, problem, isAway, isDurable: this.outbox?.durable });
  }

  drawButtons(decision, canUndo) {
    for (const node of this.buttons.querySelectorAll("button.keep, button.drop, button.unsure")) {
      const isChosen = node.classList.contains(decision ?? "-");
      node.classList.toggle("chosen", isChosen);
      node.setAttribute("aria-pressed", isChosen);
      node.disabled = this.row === undefined;
    }
    const reveal = this.buttons.querySelector("button.reveal");
    reveal.hidden = !this.state.blind;
    reveal.disabled = !this.state.isHidden();
    this.buttons.querySelector("button.undo").disabled = !canUndo;
  }
}

export default VN.mount(ReviewDeck);
