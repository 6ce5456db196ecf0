// The active filters as chips; choosing one removes it.

export default function ({ data, parentElement, setTriggerValue }) {
  const remove = (key) => setTriggerValue("removed", key);
  const chip = ({ key, name, value }) => button({
    class: "chip", "data-part": key, "aria-label": `Remove ${name} ${value}`, title: `${name}: ${value}`,
    onclick: () => remove(key),
  }, el("span", "what", name), el("span", "value", value),
  el("span", { class: "cross", "aria-hidden": "true" }, "×"));
  const clear = button({ class: "clear", onclick: () => remove("") }, "Clear all");
  const group = { class: "chips", role: "group", "aria-label": "Active filters" };
  parentElement.querySelector(".vn").replaceChildren(el("div", group, data.parts.map(chip), clear));
}
