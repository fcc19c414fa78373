// What makes the console handier where scripts run: every page works without it.
"use strict";

// Times in the reader's own zone; the exact one in UTC stays in the title.
function showLocalTimes(within) {
  const written = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of within.querySelectorAll("time[datetime]:not([data-is-local])")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime()) && time.dateTime.length > 10) {
      time.textContent = written.format(at);
      time.dataset.isLocal = "";
    }
  }
}

// Buttons that copy the text which stands beside them.
function bringCopyButtonsToLife(within) {
  for (const button of within.querySelectorAll("button[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const label = button.firstChild;
      const before = label.textContent;
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        label.textContent = "Copied";
      } catch {
        label.textContent = "Not copied";
      }
      setTimeout(() => { label.textContent = before; }, 2000);
    });
  }
}

// A form with data-live is sent while one types, and its answer takes the place of the part that data-live names.
function sendWhileTyping(form) {
  const part = form.dataset.live;
  let waiting;
  let latest = 0;
  const send = async () => {
    const mine = ++latest;
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const address = `${location.pathname}?${query}`;
    const fresh = await partOf(address, part);
    if (mine !== latest || !fresh) return;
    document.getElementById(part).replaceWith(fresh);
    history.replaceState(null, "", address);
    liven(fresh);
  };
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(send, 250);
  });
}

// Fetches a page of ours and gives the part of it that has this id; nothing if it cannot be had now.
async function partOf(address, id) {
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(id);
  } catch {
    return null; // The service is away for a moment; the next time shows it.
  }
}

function isSwitchedOn(part) {
  const button = document.querySelector(`[data-follows="${part.id}"]`);
  return !document.hidden && (!button || button.getAttribute("aria-pressed") === "true");
}

// A part with data-follow asks its own address again every so many seconds, and shows what is different: the checklist.
function follow(part) {
  let shown = part.innerHTML;
  setInterval(async () => {
    const fresh = isSwitchedOn(part) ? await partOf(location.href, part.id) : null;
    if (!fresh || fresh.innerHTML === shown) return;
    shown = fresh.innerHTML;
    part.replaceChildren(...fresh.childNodes);
    liven(part);
  }, Number(part.dataset.follow) * 1000);
}

// Rows with data-tail get those above them that came since: the live tail of the log.
function followTail(rows) {
  setInterval(async () => {
    if (!isSwitchedOn(rows)) return;
    const newest = rows.querySelector("tr")?.dataset.seq ?? "0";
    const fresh = await partOf(`${rows.dataset.tail}?after=${newest}`, "tail");
    if (!fresh) return;
    const known = Number(rows.querySelector("tr")?.dataset.seq ?? 0);
    for (const row of [...fresh.querySelectorAll("tr")].reverse()) {
      if (Number(row.dataset.seq) <= known) continue;
      row.classList.add("fresh");
      rows.prepend(row);
      liven(row);
    }
    while (rows.rows.length > 500) rows.lastElementChild.remove();
  }, 2000);
}

// Switches that a script needs, such as that of the live tail.
function bringSwitchesToLife() {
  for (const button of document.querySelectorAll("button[data-follows]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const isOn = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!isOn));
    });
  }
}

function liven(within) {
  showLocalTimes(within);
  bringCopyButtonsToLife(within);
}

liven(document);
bringSwitchesToLife();
document.querySelectorAll("form[data-live]").forEach(sendWhileTyping);
document.querySelectorAll("[data-follow]").forEach(follow);
document.querySelectorAll("[data-tail]").forEach(followTail);
