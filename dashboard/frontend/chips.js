// What a filter holds, part by part; choosing a part takes it out.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  const { el } = VN;
  const chip = (one) => el("button", { type: "button", class: "chip", "data-part": one.key, "aria-label": `Take out ${one.name} ${one.value}`, title: `${one.name}: ${one.value}`, onclick: () => setTriggerValue("removed", one.key) },
    el("span", { class: "what" }, one.name), el("span", { class: "value" }, one.value), el("span", { class: "cross", "aria-hidden": "true" }, "×"));
  root.replaceChildren(el("div", { class: "chips", role: "group", "aria-label": "Parts of the filter" },
    data.parts.map(chip),
    el("button", { type: "button", class: "clear", onclick: () => setTriggerValue("removed", "") }, "Clear all")));
}
