// What pages do beyond reading and forms: palette, keyboard, copies, times, colours, health, live parts.
(function () {
  "use strict";
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]");

  // Times: relative by the reader's clock, exact in UTC and local on hover.
  const steps = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [86400 * 60, 86400, "d"]];
  function ago(moment) {
    const seconds = (Date.now() - moment) / 1000;
    for (const [below, unit, name] of steps) {
      if (Math.abs(seconds) < below) {
        const count = Math.floor(Math.abs(seconds) / unit);
        if (name === "s" && count < 2) return "now";
        return seconds >= 0 ? `${count} ${name} ago` : `in ${count} ${name}`;
      }
    }
    return new Date(moment).toISOString().slice(0, 10);
  }
  function tellTimes(within = document) {
    all("time[data-ago]", within).forEach((time) => {
      const moment = Date.parse(time.dateTime), told = ago(moment);
      if (time.textContent !== told) time.textContent = told;
      if (!time.dataset.local) {
        time.dataset.local = "yes";
        time.title += `\n${new Date(moment).toLocaleString()} here`;
      }
    });
  }

  // Palette.
  const palette = () => one("#palette");
  const options = () => all("[role=option]:not([hidden])", palette());
  function choose(option) {
    all("[role=option]", palette()).forEach((each) => each.setAttribute("aria-selected", String(each === option)));
    const words = one("#palette-words");
    if (option) {
      words.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else words.removeAttribute("aria-activedescendant");
  }
  function narrow() {
    const words = one("#palette-words").value.toLowerCase().split(/\s+/).filter(Boolean);
    all("[role=option]", palette()).forEach((option) => {
      const text = option.textContent.toLowerCase();
      option.hidden = !words.every((word) => text.includes(word));
    });
    const left = options();
    one(".palette-none", palette()).hidden = left.length > 0;
    choose(left[0]);
  }
  function openPalette() {
    if (!palette() || palette().open) return;
    one("#palette-words").value = "";
    palette().showModal();
    narrow();
  }
  function movePalette(by) {
    const left = options();
    if (!left.length) return;
    const at = left.findIndex((option) => option.getAttribute("aria-selected") === "true");
    choose(left[(at + by + left.length) % left.length]);
  }

  // Rows by keyboard: j and k move, Enter opens.
  function moveRow(by) {
    const rows = all("[data-rows] tbody tr");
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.hasAttribute("data-at"));
    const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by))];
    rows.forEach((row) => row.removeAttribute("data-at"));
    next.setAttribute("data-at", "");
    const link = one("a.row-link, a", next);
    if (link) link.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  // Side panel: closing gives the focus back to the row that opened it.
  let opener = null;
  function closePanel(event) {
    const panel = one("[data-panel]"), close = panel && one("[data-close]", panel);
    if (!close) return false;
    if (!opener) return event ? false : (close.click(), true);
    if (event) event.preventDefault();
    one("#panel").replaceChildren();
    follow();
    history.pushState({}, "", close.href);
    opener.focus();
    opener = null;
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
      return;
    }
    if (palette() && palette().open) {
      if (event.key === "ArrowDown") { event.preventDefault(); movePalette(1); }
      if (event.key === "ArrowUp") { event.preventDefault(); movePalette(-1); }
      if (event.key === "Enter") {
        const chosen = one("[aria-selected=true]", palette());
        if (chosen) { event.preventDefault(); location.href = chosen.dataset.href; }
      }
      return;
    }
    if (event.key === "Escape") {
      const menu = one("details.menu[open]");
      if (menu) { menu.open = false; one("summary", menu).focus(); } else if (location.hash === "#areas") location.hash = "main"; else closePanel();
      return;
    }
    if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j") moveRow(1);
    if (event.key === "k") moveRow(-1);
    if (event.key === "/") { const search = one("input[type=search]"); if (search) { event.preventDefault(); search.focus(); } }
  });

  document.addEventListener("click", async (event) => {
    all("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
    if (event.target.closest("[data-palette-open]")) return openPalette();
    const option = event.target.closest("#palette [data-href]");
    if (option) { location.href = option.dataset.href; return; }
    if (palette() && event.target === palette()) palette().close();
    if (event.target.closest("[data-close]")) closePanel(event);
    if (event.target.closest("[data-print]")) return print();
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      await navigator.clipboard.writeText(copy.dataset.copy);
      const use = one("use", copy), before = use.getAttribute("href");
      use.setAttribute("href", before.replace(/#.*/, "#check"));
      setTimeout(() => use.setAttribute("href", before), 1200);
    }
  });
  document.addEventListener("input", (event) => { if (event.target.id === "palette-words") narrow(); });

  // Colours change at once; the form remembers them.
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button || !button.hasAttribute("data-theme-button")) return;
    event.preventDefault();
    root.dataset.theme = button.value;
    all("[data-theme-button]").forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
    if (window.charts) window.charts.redraw();
    const body = new URLSearchParams(new FormData(event.target));
    body.set("theme", button.value);
    fetch(event.target.action, { method: "POST", body, redirect: "manual" });
  });

  // A form goes off once, however fast somebody clicks.
  const OFF_MS = 5000;
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (form.dataset.off) { event.preventDefault(); return; }
    form.dataset.off = "1";
    setTimeout(() => delete form.dataset.off, OFF_MS);
  });

  // Health: asked of the service itself.
  async function askHealth() {
    const dot = one("[data-health-words]"), place = dot && dot.parentElement;
    if (!dot) return;
    let good = false;
    try { good = (await fetch("/api/v1/health/ready", { cache: "no-store" })).ok; } catch { good = false; }
    place.dataset.health = good ? "good" : "bad";
    dot.textContent = good ? "Healthy" : "Not ready";
  }

  // Live parts: the content of elements by id; what is being read or typed in stays as it is until later.
  let source = null;
  const later = new Map(), sent = new Map();
  function patch(id, html) {
    const element = document.getElementById(id);
    if (!element || element.innerHTML === html) return;
    if (element.hasAttribute("data-live-rows")) return window.liveRows.take(element, html);
    if (sent.get(id) === html && !later.has(id)) return;
    sent.set(id, html);
    const isBusy = element.contains(document.activeElement) || String(getSelection()) && element.contains(getSelection().anchorNode);
    if (isBusy) { later.set(id, html); return; }
    later.delete(id);
    element.innerHTML = html;
    tellTimes(element);
    if (window.htmx) window.htmx.process(element);
  }
  function follow() {
    const address = all("[data-live]").map((place) => place.dataset.live).at(-1);
    if (source && source.address === address) return;
    if (source) source.close();
    source = null;
    sent.clear();
    if (!address) return;
    source = new EventSource(address);
    source.address = address;
    const mark = (words) => {
      all("[data-live-mark]").forEach((each) => { each.textContent = words; });
      window.liveRows.tell();
    };
    source.addEventListener("open", () => mark("live"));
    source.addEventListener("patch", (event) => {
      mark("live");
      Object.entries(JSON.parse(event.data)).forEach(([id, html]) => patch(id, html));
      if (window.charts) window.charts.drawAll();
    });
    source.addEventListener("away", () => mark("waiting for the service"));
    source.addEventListener("error", () => mark(source.readyState === 2 ? "not live" : "waiting for the service"));
    source.addEventListener("over", () => { source.close(); location.reload(); });
  }

  document.addEventListener("htmx:configRequest", (event) => {
    const token = document.body.dataset.csrf;
    if (token) event.detail.headers["x-csrf-token"] = token;
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.target && event.detail.target.id === "panel") opener = event.detail.elt;
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    tellTimes(event.target);
    follow();
    const title = event.target.id === "panel" && one("[data-panel-title]");
    if (title) title.focus();
  });
  document.addEventListener("DOMContentLoaded", () => {
    tellTimes();
    follow();
    askHealth();
  });
  setInterval(tellTimes, 5000);
  setInterval(() => { if (!document.hidden) askHealth(); }, 30000);
  setInterval(() => later.forEach((html, id) => patch(id, html)), 1000);
  addEventListener("pagehide", () => { if (source) { source.close(); source = null; } });
  addEventListener("pageshow", (event) => { if (event.persisted) follow(); });
  addEventListener("popstate", () => location.reload());
})();
