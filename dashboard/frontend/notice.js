// A line that the reader can dismiss. The browser remembers its text.

const DISMISSED_STORED_AS = "visnec-dismissed";

class Notice extends Widget {
  receive() {
    if (!this.isNew(this.data)) return;
    const { text, summary, command } = this.data;
    const details = command && el("details", {}, el("summary", {}, summary), el("pre", {}, command));
    const dismiss = button({ class: "dismiss", title: "Do not show this again", "aria-label": "Dismiss notice",
      onclick: () => this.dismiss() }, "×");
    this.root.replaceChildren(el("div", { class: "notice", role: "status" }, el("span", {}, text), details, dismiss));
    this.show(!this.readDismissed().includes(text));
  }

  // Without its container the line leaves no gap.
  show(isShown) {
    const { host } = this.root.getRootNode();
    host.closest('[data-testid="stElementContainer"]').style.display = isShown ? "" : "none";
  }

  readDismissed() {
    try { return JSON.parse(localStorage.getItem(DISMISSED_STORED_AS) ?? "[]"); } catch { return []; }
  }

  dismiss() {
    this.show(false);
    const texts = JSON.stringify([...this.readDismissed(), this.data.text]);
    try { localStorage.setItem(DISMISSED_STORED_AS, texts); } catch { /* shown again on the next page */ }
  }
}

export default VN.mount(Notice);
