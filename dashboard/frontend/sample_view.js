// One sample of the Explore page. Left and right arrows open its neighbours in the list, Escape goes back.

class SampleView extends Widget {
  constructor(root) {
    super(root);
    this.onKey = (event) => {
      if (event.repeat || VN.hasModifier(event) || event.defaultPrevented) return;
      if (VN.isTextField(event.composedPath()[0])) return;
      const action = { ArrowLeft: "previous", ArrowRight: "next", Escape: "back" }[event.key];
      if (!action || (action !== "back" && !this.data[action])) return;
      event.preventDefault();
      this.act(action);
    };
    window.addEventListener("keydown", this.onKey);
  }

  receive() {
    const { card, link, record } = this.data;
    if (!this.isNew([card, link, record])) return;
    this.root.replaceChildren(Card.render(card, {
      open: (row) => this.act("open", row), openImage: () => this.act("image"),
      link: new URL(link, location.href).href, record,
    }));
  }

  act(action, row = this.data.card.row_idx) { this.send("action", { action, row }); }
  close() { window.removeEventListener("keydown", this.onKey); }
}

export default VN.mount(SampleView);
