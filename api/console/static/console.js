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
    const address = `${form.action.split("?")[0]}?${query}`;
    const answer = await fetch(address, { credentials: "same-origin" });
    if (mine !== latest || !answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(part);
    if (!fresh) return;
    document.getElementById(part).replaceWith(fresh);
    history.replaceState(null, "", address);
    liven(fresh);
  };
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(send, 250);
  });
}

// A part with data-follow asks its own address again, and shows what came new: the live tail and the checklist.
function follow(part) {
  const seconds = Number(part.dataset.follow) || 5;
  const again = async () => {
    if (!part.isConnected) return;
    const button = document.querySelector(`[data-follows="${part.id}"]`);
    const isOn = !document.hidden && (!button || button.getAttribute("aria-pressed") === "true");
    if (isOn) {
      try {
        const answer = await fetch(part.dataset.from || location.href, { credentials: "same-origin" });
        if (answer.ok && !answer.redirected) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const fresh = page.getElementById(part.id);
          if (fresh && fresh.innerHTML !== part.dataset.shown) {
            part.dataset.shown = fresh.innerHTML;
            part.innerHTML = fresh.innerHTML;
            liven(part);
          }
        }
      } catch {
        // The service is away for a moment; the next time shows it.
      }
    }
    setTimeout(again, seconds * 1000);
  };
  setTimeout(again, seconds * 1000);
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
