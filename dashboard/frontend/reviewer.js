// The reviewer's name. It is stored in this browser's localStorage; a form asks for it where there is none,
// or when the reader wants another one.

const NAME_STORED_AS = "visnec-reviewer";
const RETRY_MS = 3000, TRIES = 3; // an event can be lost while the page reruns

const readName = () => { try { return localStorage.getItem(NAME_STORED_AS); } catch { return null; } };
const storeName = (name) => { try { localStorage.setItem(NAME_STORED_AS, name); } catch { /* asked for next time */ } };

class Reviewer extends Widget {
  receive() {
    if (!this.isNew(this.data)) return;
    clearTimeout(this.timer);
    const { name, suggested, ask } = this.data, known = readName() || suggested;
    if (name) {
      storeName(name);
      this.root.replaceChildren();
    } else if (known && !ask) this.sendStored(known);
    else this.ask(known);
  }

  // Send the stored name, and again while the page is idle without it; where the page never takes it, ask.
  sendStored(name, tries = TRIES) {
    this.send("name", name);
    const retry = () => {
      if (!this.root.isConnected) return;
      if (!VN.isPageIdle()) this.timer = setTimeout(retry, RETRY_MS);
      else if (tries === 0) this.ask(name);
      else this.sendStored(name, tries - 1);
    };
    this.timer = setTimeout(retry, RETRY_MS);
  }

  ask(known) {
    const field = el("input", {
      id: "vn-reviewer", class: "field", type: "text", maxlength: 80, autocomplete: "off", spellcheck: "false",
      value: known, oninput: () => { start.disabled = !field.value.trim(); },
    });
    const start = el("button", { type: "submit", class: "begin", disabled: !field.value.trim() }, "Start");
    const onsubmit = (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (!name) return;
      storeName(name);
      this.send("name", name);
    };
    this.root.replaceChildren(el("form", { class: "ask", onsubmit },
      el("label", { for: "vn-reviewer" }, "Your name"),
      el("p", "quiet", "Your name is stored with each decision in the workspace, so several people can "
        + "review the same data. This browser remembers it."),
      el("div", "line", field, start)));
    field.focus();
  }
}

export default VN.mount(Reviewer);
