// Rows that arrive by themselves: new ones are put in their place, those that are there stay, and a reader who is busy is not disturbed.
(function () {
  "use strict";
  const AWAY = 80, MOST = 1000;
  const one = (selector) => document.querySelector(selector);
  const waiting = new Map();
  let isPaused = false;

  function rowsOf(html) {
    const made = document.createElement("template");
    made.innerHTML = html;
    return [...made.content.querySelectorAll("tr")];
  }

  function isHeld(body) {
    const marked = getSelection();
    return isPaused || scrollY > AWAY || body.rows.length >= MOST || (String(marked) && body.contains(marked.anchorNode));
  }

  function gap(columns) {
    const row = document.createElement("tr"), cell = row.insertCell(), link = document.createElement("a");
    cell.colSpan = columns;
    link.href = location.href;
    link.textContent = "More arrived than is shown here: load the page again to see all";
    cell.append(link);
    return row;
  }

  function merge(body, rows) {
    const fresh = rows.filter((row) => !document.getElementById(row.id));
    if (!fresh.length) return;
    const first = body.rows[0];
    if (first && fresh.length === rows.length && rows.length > 1) body.prepend(gap(first.cells.length));
    let place = body.rows[0] || null;
    rows.forEach((row) => {
      const known = document.getElementById(row.id);
      if (known) { place = known.nextElementSibling; return; }
      row.classList.add("arrived");
      body.insertBefore(row, place);
      if (window.htmx) window.htmx.process(row);
    });
    document.querySelectorAll("[data-when-empty]").forEach((element) => element.remove());
    document.querySelectorAll("[data-when-rows]").forEach((element) => { element.hidden = false; });
  }

  function tell() {
    const button = one("[data-live-show]"), state = one("[data-live-state]");
    let count = 0;
    waiting.forEach((rows) => { count += rows.filter((row) => !document.getElementById(row.id)).length; });
    const held = isPaused || count > 0;
    if (button) {
      button.hidden = count === 0;
      button.textContent = `${count} new: show`;
    }
    if (!state) return;
    const mark = one("[data-live-mark]");
    if (held) mark.textContent = "paused"; else if (mark.textContent === "paused") mark.textContent = "live";
    state.classList.toggle("is-held", held);
    state.classList.toggle("is-live", mark.textContent === "live");
  }

  function release(evenIfHeld) {
    waiting.forEach((rows, id) => {
      const body = document.getElementById(id);
      if (!body || (!evenIfHeld && isHeld(body))) return;
      waiting.delete(id);
      merge(body, rows);
    });
    tell();
  }

  function take(body, html) {
    waiting.set(body.id, rowsOf(html));
    release(false);
  }

  document.addEventListener("click", (event) => {
    const pause = event.target.closest("[data-live-pause]");
    if (pause) {
      isPaused = !isPaused;
      pause.setAttribute("aria-pressed", String(isPaused));
      pause.querySelector("span").textContent = isPaused ? "Go on" : "Pause";
      release(false);
    }
    if (event.target.closest("[data-live-show]")) {
      release(true);
      scrollTo({ top: 0 });
    }
  });
  setInterval(() => { if (one("[data-live-state]")) release(false); }, 1000);
  window.liveRows = { take, tell };
})();
