// A text box that completes #su... as an ARIA combobox.
export function completes(box) {
  const list = document.getElementById(`offers-${box.dataset.caption}`);
  let chosen = -1, start = -1, number = 0;
  const set = (name, value) => box.setAttribute(name, value);
  set("role", "combobox");
  set("aria-autocomplete", "list");
  set("aria-haspopup", "listbox");
  set("aria-controls", list.id);
  set("aria-expanded", "false");

  const close = () => {
    number += 1;
    list.hidden = true;
    list.replaceChildren();
    chosen = -1;
    set("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const mark = (place) => {
    const offers = [...list.children];
    chosen = (place + offers.length) % offers.length;
    offers.forEach((one, i) => one.setAttribute("aria-selected", String(i === chosen)));
    set("aria-activedescendant", offers[chosen].id);
  };
  const take = (place) => {
    const tag = list.children[place].dataset.tag;
    const end = box.selectionStart;
    box.setRangeText(`#${tag} `, start, end, "end");
    close();
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const show = (offers) => {
    list.replaceChildren(...offers.map(({ tag, own }, i) => {
      const item = document.createElement("li");
      item.id = `${list.id}-${i}`;
      item.dataset.tag = tag;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      const name = document.createElement("bdi");
      name.textContent = `#${tag}`;
      item.append(name);
      if (own) {
        const times = document.createElement("small");
        times.textContent = `${own}×`;
        item.append(times);
      }
      item.addEventListener("mousedown", (event) => { event.preventDefault(); take(i); });
      return item;
    }));
    list.hidden = !offers.length;
    set("aria-expanded", String(offers.length > 0));
  };

  box.addEventListener("input", async () => {
    const before = box.value.slice(0, box.selectionStart);
    const found = before.match(/[#＃]([\p{L}\p{N}\p{M}_]+)$/u);
    if (!found) { close(); return; }
    start = before.length - found[0].length;
    const mine = ++number;
    const person = box.form.elements.person?.value || "";
    const response = await fetch(`/complete?${new URLSearchParams({ q: found[1], person })}`).catch(() => null);
    if (!response?.ok) return;
    const offers = await response.json();
    if (mine !== number) return; // something else was typed in the meantime
    const wanted = list.children[chosen]?.dataset.tag; // chosen while this answer was on its way
    chosen = -1;
    box.removeAttribute("aria-activedescendant");
    show(offers);
    const place = offers.findIndex(({ tag }) => tag === wanted);
    if (place >= 0) mark(place);
  });
  box.addEventListener("keydown", (event) => {
    if (list.hidden || event.isComposing) return;
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves) mark(chosen < 0 && event.key === "ArrowUp" ? -1 : chosen + moves[event.key]);
    else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) take(chosen);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  box.addEventListener("blur", close);
}
