// Decisions that the server has not confirmed yet, kept in the browser's IndexedDB under one deck
// (workspace and reviewer). Where a browser refuses IndexedDB they live in this page only, and
// `durable` is false so that the page can say so.

class Outbox {
  static NAME = "visnec-review";

  constructor(deck) {
    this.deck = deck;
    this.durable = true;
    this.opening = new Promise((resolve) => {
      try {
        const request = indexedDB.open(Outbox.NAME, 1);
        request.onupgradeneeded = () => request.result.createObjectStore("drafts", { keyPath: "event_id" });
        request.onsuccess = () => resolve(request.result);
        request.onerror = request.onblocked = () => resolve(null);
      } catch { resolve(null); }
    }).then((database) => { this.durable = database !== null; return database; });
  }

  async act(mode, work) {
    const database = await this.opening;
    if (!database) return null;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction("drafts", mode);
      const result = work(transaction.objectStore("drafts"));
      transaction.oncomplete = () => resolve(result?.result ?? null);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
      transaction.commit?.(); // nothing more will come: on disk a round trip sooner
    });
  }

  async put(draft) {
    try {
      await this.act("readwrite", (store) => store.put({ ...draft, deck: this.deck }));
    } catch { this.durable = false; }
  }

  async remove(ids) {
    try {
      await this.act("readwrite", (store) => { for (const id of ids) store.delete(id); });
    } catch { /* repeated to the server next time, which knows the event already */ }
  }

  async all() {
    try {
      const found = (await this.act("readonly", (store) => store.getAll())) ?? [];
      return found.filter((draft) => draft.deck === this.deck).sort((a, b) => a.order - b.order).map(({ deck, ...draft }) => draft);
    } catch { this.durable = false; return []; }
  }
}
