// Decisions that the server has not yet confirmed: stored in the browser, and sent until confirmed.

// Drafts in the browser's IndexedDB, under one deck (workspace and reviewer). Where a browser refuses IndexedDB
// they exist in this page only, and `durable` is false so that the page can report it.
class Outbox {
  durable = true;

  constructor(deck) {
    this.deck = deck;
    /** @type {Promise<IDBDatabase | null>} */
    this.opening = new Promise((resolve) => {
      try {
        const request = indexedDB.open("visnec-review", 1);
        request.onupgradeneeded = () => request.result.createObjectStore("drafts", { keyPath: "event_id" });
        request.onsuccess = () => resolve(request.result);
        request.onerror = request.onblocked = () => resolve(null);
      } catch { resolve(null); }
    });
    this.opening.then((database) => { this.durable = database !== null; });
  }

  /** @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => any} work may return a request */
  async transact(mode, work) {
    const database = await this.opening;
    if (!database) return null;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction("drafts", mode);
      const request = work(transaction.objectStore("drafts"));
      transaction.oncomplete = () => resolve(request?.result ?? null);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
      transaction.commit?.(); // no more requests follow: written to disk one round trip earlier
    });
  }

  async put(draft) {
    try {
      await this.transact("readwrite", (store) => store.put({ ...draft, deck: this.deck }));
    } catch { this.durable = false; }
  }

  async remove(ids) {
    try {
      await this.transact("readwrite", (store) => { for (const id of ids) store.delete(id); });
    } catch { /* sent to the server again next time, which ignores known events */ }
  }

  /** Return this deck's drafts, oldest first. */
  async readAll() {
    try {
      const drafts = (await this.transact("readonly", (store) => store.getAll())) ?? [];
      const own = drafts.filter((draft) => draft.deck === this.deck).sort((a, b) => a.order - b.order);
      return own.map(({ deck, ...draft }) => draft);
    } catch {
      this.durable = false;
      return [];
    }
  }
}

// Sends drafts, one batch at a time. Each batch holds everything unconfirmed, so a lost one costs nothing; events
// carry ids, so a repeated one does no harm.
class DraftSender {
  static QUIET_MS = 120; // pause between keys, before which nothing is sent
  static LATEST_MS = 2500; // after which a draft is sent even without a pause
  static RESEND_MS = 2500;
  static UNANSWERED = 2; // batches without an answer, after which the server counts as out of reach

  enabled = false;
  batch = 0;
  unanswered = 0;
  inFlight = false;
  lastSent = new Set(); // ids in the last batch
  /** @type {number | null} */ waitingSince = null;

  /** @param {() => {event_id: string}[]} readDrafts @param {(n: number) => void} send sends them as batch `n` */
  constructor(readDrafts, send) {
    this.readDrafts = readDrafts;
    this.send = send;
    this.resending = setInterval(() => this.resend(), DraftSender.RESEND_MS);
  }

  close() {
    clearTimeout(this.timer);
    clearInterval(this.resending);
  }

  get isServerAway() { return this.readDrafts().length > 0 && this.unanswered >= DraftSender.UNANSWERED; }

  /** Send in a pause between keys: Streamlit's round trip would delay drawing the next sample. */
  sendSoon() {
    const now = Date.now();
    this.waitingSince ??= now;
    clearTimeout(this.timer);
    const latest = this.waitingSince + DraftSender.LATEST_MS - now;
    this.timer = setTimeout(() => this.sendNow(), Math.max(0, Math.min(DraftSender.QUIET_MS, latest)));
  }

  sendNow(again = false) {
    if (!this.enabled || (this.inFlight && !again)) return;
    clearTimeout(this.timer);
    this.waitingSince = null;
    this.inFlight = true;
    this.batch = Math.max(this.batch + 1, Date.now());
    this.lastSent = new Set(this.readDrafts().map((draft) => draft.event_id));
    this.send(this.batch);
  }

  resend() {
    if (!this.readDrafts().length) return;
    this.unanswered += 1;
    this.sendNow(true);
  }

  /** The page was drawn again, so the last batch has been handled. */
  confirm() {
    this.inFlight = false;
    if (this.readDrafts().some((draft) => !this.lastSent.has(draft.event_id))) this.sendSoon();
  }
}
