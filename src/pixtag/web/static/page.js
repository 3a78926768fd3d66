// Forms work without this. With it, parts of the page are replaced in place and photos are seen.
import { completes } from "./caption.js";
import { watches, sends } from "./progress.js";

document.documentElement.classList.add("js");
const form = document.getElementById("photos");
const files = new Map(); // the key of a photo: its file, and the address of that in this browser

function say(text) {
  const status = document.getElementById("status");
  status.textContent = "";
  setTimeout(() => { status.textContent = text; }, 50);
}

async function ask(data, part) {
  const headers = { Accept: "text/html", ...(part && { "Pixtag-Part": part }) };
  const response = await fetch(form.action, { method: "POST", body: data, headers }).catch(() => { throw new Error(form.dataset.offline); });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok) throw new Error(page.querySelector("main")?.innerText.trim() || response.status);
  return page;
}

function replace(old, made) {
  const focused = document.activeElement, was = old.contains(focused);
  const open = [...old.querySelectorAll("details[open]")].map((one) => one.className);
  old.replaceWith(made);
  for (const details of made.querySelectorAll("details")) details.open = open.includes(details.className);
  if (was) {
    const name = focused.dataset.focus || "", [key, slot] = name.split(" ");
    const of = (one) => made.querySelector(`[data-focus="${CSS.escape(one)}"]`);
    (of(name) || of(`${key} ${slot} take`) || made.closest("article").querySelector("[data-focus]"))?.focus();
  }
}

function adopt(page, found) {
  for (const made of page.querySelectorAll("[data-part]")) {
    const old = document.getElementById(made.id);
    if (old) replace(old, document.adoptNode(made));
  }
  for (const card of page.querySelectorAll("article.card")) {
    const key = card.dataset.key;
    if (document.getElementById(card.id)) continue;
    if (found) files.set(key, { file: found, address: URL.createObjectURL(found) });
    const mine = document.adoptNode(card);
    document.getElementById("cards").append(mine);
    prepare(mine);
  }
  form.dataset.n = document.querySelectorAll("article.card").length;
  document.getElementById("drop-title").textContent = page.getElementById("drop-title").textContent;
  const note = page.querySelector("[data-note]");
  if (note) say(note.textContent);
}

function prepare(root) {
  for (const image of root.querySelectorAll("[data-shot]")) {
    const { address } = files.get(image.dataset.shot) || {};
    if (!address) continue;
    image.addEventListener("load", () => { image.hidden = false; });
    image.src = address;
  }
  for (const caption of root.querySelectorAll("[data-caption]")) {
    completes(caption);
    let waiting;
    caption.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => press(`again:${caption.dataset.caption}`, caption.dataset.caption), 700);
    });
  }
}

let turn = Promise.resolve(); // one after the other, so that answers come in order
function press(action, key) {
  turn = turn.then(async () => {
    const part = key && document.getElementById(`part-${key}`);
    clear(part);
    part?.setAttribute("aria-busy", "true");
    try {
      const data = new FormData(form);
      data.delete("photos");
      data.set("do", action);
      if (files.has(key)) data.set("again", key);
      const page = await ask(data, key);
      const old = [...page.querySelectorAll("[data-expired]")].filter((one) => files.has(one.dataset.key));
      for (const card of old) card.remove();
      adopt(page);
      for (const { dataset } of old) { // looked at too long ago: its file goes along once more
        data.set(`${dataset.key}.file`, files.get(dataset.key).file);
        adopt(await ask(data, dataset.key));
        data.delete(`${dataset.key}.file`);
      }
    } catch (error) {
      part?.removeAttribute("aria-busy");
      fail(error.message, part);
    }
  });
  return turn;
}

async function add(found) {
  const drop = document.getElementById("drop");
  clear();
  drop.setAttribute("aria-busy", "true");
  for (const file of found) {
    turn = turn.then(async () => {
      const data = new FormData();
      for (const name of ["person", "platform"]) {
        const field = form.elements[name];
        if (field) data.set(name, field.value);
      }
      data.set("photos", file, file.name || "photo");
      try { adopt(await ask(data, "new"), file); } catch (error) { fail(error.message); }
    });
  }
  await turn;
  drop.removeAttribute("aria-busy");
}

function clear(place) {
  for (const line of (place || document.getElementById("cards")).querySelectorAll(":scope > .failed")) line.remove();
}

function fail(text, place) {
  const line = document.createElement("p");
  line.className = "wrong failed";
  line.setAttribute("role", "alert");
  line.textContent = text;
  (place || document.getElementById("cards")).append(line);
  line.scrollIntoView({ block: "nearest" });
}

if (form) {
  prepare(form);
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button || button.name !== "do") return;
    event.preventDefault();
    const [action, key] = button.value.split(":");
    if (action === "remove") {
      document.getElementById(`card-${key}`).remove();
      URL.revokeObjectURL(files.get(key)?.address);
      files.delete(key);
      form.dataset.n = document.querySelectorAll("article.card").length;
      form.querySelector("input[type=file]").focus();
    } else press(button.value, key);
  });
  form.addEventListener("change", (event) => {
    const field = event.target;
    if (field.type === "file") {
      add([...field.files]);
      field.value = "";
    } else if ("again" in field.dataset) press("again", null);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && "again" in event.target.dataset) {
      event.preventDefault();
      press("again", null);
    }
  });
  addEventListener("beforeunload", (event) => {
    const isOpen = (card) => !card.querySelector(".posted") && (card.querySelector(".chip.taken") || card.querySelector("[data-caption]")?.value.trim());
    if ([...form.querySelectorAll("article.card")].some(isOpen)) event.preventDefault();
  });
  const drop = document.getElementById("drop");
  const pictures = (items) => [...items].filter((one) => one.type.startsWith("image/") || /\.(heic|heif|avif)$/i.test(one.name));
  addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); add(pictures(event.dataTransfer.files)); });
  addEventListener("paste", (event) => {
    const found = pictures(event.clipboardData.files);
    if (found.length) { event.preventDefault(); add(found); }
  });
}

async function copy(button) {
  const area = document.getElementById(button.dataset.copy);
  try { await navigator.clipboard.writeText(area.value); } catch {
    area.select(); // where a page without HTTPS has no clipboard
    document.execCommand("copy");
    button.focus();
  }
  const before = button.textContent;
  button.textContent = button.dataset.done;
  say(button.dataset.done);
  setTimeout(() => { button.textContent = before; }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
document.addEventListener("change", (event) => { if ("send" in event.target.dataset) event.target.form.requestSubmit(); });
document.addEventListener("error", (event) => { if (event.target.dataset && "maybe" in event.target.dataset) event.target.remove(); }, true);
watches(document.querySelector("[data-events]"));
sends(document.querySelector("form[action='/import']"), fail);
