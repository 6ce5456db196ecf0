// One sample of the Explore page. Left and right arrows open its neighbours in the list, Escape goes back.

const VIEWS = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  let view = VIEWS.get(root);
  if (!view) {
    view = { shown: null };
    VIEWS.set(root, view);
    view.onKey = (event) => {
      if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (VN.isTextField(event.composedPath()[0])) return;
      const action = { ArrowLeft: "previous", ArrowRight: "next", Escape: "back" }[event.key];
      if (!action || (action !== "back" && !view.data[action])) return;
      event.preventDefault();
      view.send("action", { action, row: view.data.card.row_idx });
    };
    window.addEventListener("keydown", view.onKey);
  }
  view.data = data;
  view.send = setTriggerValue;
  const version = JSON.stringify([data.card, data.link]);
  if (view.shown !== version) {
    view.shown = version;
    root.replaceChildren(Card.render(data.card, {
      open: (row) => view.send("action", { action: "open", row }),
      openImage: () => view.send("action", { action: "image", row: data.card.row_idx }),
      link: new URL(data.link, location.href).href,
    }));
  }
  return () => { window.removeEventListener("keydown", view.onKey); VIEWS.delete(root); };
}
