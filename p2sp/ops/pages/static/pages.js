// Keeps the page fresh: asks for it again and puts in what is new. Without this, the browser loads it anew by itself.
"use strict";
(() => {
  const live = document.getElementById("live");
  let timer = 0;

  function later() {
    clearTimeout(timer);
    timer = setTimeout(refresh, 1000 * Number(document.querySelector("main").dataset.refresh));
  }

  function isInUse() {
    // Whoever marks or types something must not have it taken away.
    const selection = getSelection();
    return document.hidden || (selection !== null && !selection.isCollapsed);
  }

  async function refresh() {
    if (!isInUse()) {
      try {
        const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(15000) });
        if (answer.status === 401) {
          location.reload();
          return;
        }
        if (!answer.ok) throw new Error(String(answer.status));
        show(new DOMParser().parseFromString(await answer.text(), "text/html"));
        document.body.classList.remove("away");
      } catch {
        document.body.classList.add("away");
      }
    }
    later();
  }

  function show(fresh) {
    const main = document.querySelector("main");
    const next = document.adoptNode(fresh.querySelector("main"));
    const links = [...main.querySelectorAll("a")];
    const focused = links.indexOf(document.activeElement);
    const scrolled = [...main.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    main.replaceWith(next);
    [...next.querySelectorAll(".scroll")].forEach((each, at) => { each.scrollLeft = scrolled[at] ?? 0; });
    if (focused >= 0) next.querySelectorAll("a")[focused]?.focus({ preventScroll: true });
    live.lastChild.textContent = fresh.getElementById("live").textContent;
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  document.body.classList.add("follows");
  later();
})();
