// The active filters as chips; choosing one removes it.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  const { el } = VN;
  const chip = ({ key, name, value }) => el("button", {
    type: "button", class: "chip", "data-part": key, "aria-label": `Remove ${name} ${value}`,
    title: `${name}: ${value}`, onclick: () => setTriggerValue("removed", key),
  }, el("span", { class: "what" }, name), el("span", { class: "value" }, value),
  el("span", { class: "cross", "aria-hidden": "true" }, "×"));
  const onclick = () => setTriggerValue("removed", "");
  const clear = el("button", { type: "button", class: "clear", onclick }, "Clear all");
  const group = { class: "chips", role: "group", "aria-label": "Active filters" };
  root.replaceChildren(el("div", group, data.parts.map(chip), clear));
}
