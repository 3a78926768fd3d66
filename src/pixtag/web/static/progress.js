// Follows an import by server-sent events, and shows how far an upload is.
export function watches(panel) {
  if (!panel) return;
  const line = document.getElementById("job-line"), bar = document.getElementById("job-bar");
  const source = new EventSource(panel.dataset.events);
  source.addEventListener("message", (event) => {
    const now = JSON.parse(event.data);
    line.textContent = now.line;
    if (now.share === null) bar.removeAttribute("value"); else bar.value = now.share;
    if (now.over) { source.close(); location.reload(); }
  });
}

export function sends(form, fail) {
  if (!form) return;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    form.querySelector(".failed")?.remove();
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.setAttribute("aria-label", form.querySelector("button").textContent);
    form.append(bar);
    const request = new XMLHttpRequest(); // fetch does not tell how much was sent
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "text/html");
    request.upload.addEventListener("progress", (sent) => { if (sent.lengthComputable) bar.value = sent.loaded / sent.total; });
    request.addEventListener("load", () => {
      if (request.status < 400) { location.assign(request.responseURL); return; }
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      document.getElementById("main").replaceWith(document.adoptNode(page.getElementById("main")));
    });
    request.addEventListener("error", () => { bar.remove(); fail(form.dataset.brokeOff, form); });
    request.send(new FormData(form));
  });
}
