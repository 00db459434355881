// Shows the view that the address names: "#/models/churn/score?version=1.0.0".

import { h, replace } from "./dom.js";
import { skeleton } from "./parts/notice.js";
import { problem } from "./parts/problem.js";

const SLOW_MS = 200;

/** The part of the address after "#", as the segments of a path and a query. */
export function place(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const segments = path.split("/").filter(Boolean).map(unescaped);
  return { segments, query: new URLSearchParams(query) };
}

/** The link to a place: `link(["models", "churn"], { version: "1.0.0" })`. */
export function link(segments, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return `#/${segments.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** The first view whose path fits, and what stands for its parameters (":model"). */
export function find(views, segments) {
  for (const view of views) {
    const pattern = view.path.split("/").filter(Boolean);
    const open = pattern.at(-1) === "*";
    if (open ? segments.length < pattern.length - 1 : segments.length !== pattern.length) continue;
    const parameters = {};
    const fits = pattern.every((part, index) => {
      if (part === "*") parameters.rest = segments.slice(index);
      else if (part.startsWith(":")) parameters[part.slice(1)] = segments[index];
      else return part === segments[index];
      return true;
    });
    if (fits) return { view, parameters };
  }
  return null;
}

/**
 * Shows views in an element, from now on.
 * @param {Array} views the table of views
 * @param {HTMLElement} main
 * @param {(view: Object) => void} onShow called with each view that is shown
 */
export function start(views, main, onShow) {
  let leaving = new AbortController();
  let first = true;

  async function show() {
    leaving.abort();
    leaving = new AbortController();
    const { signal } = leaving;
    const { segments, query } = place();
    const found = find(views, segments);
    main.setAttribute("aria-busy", "true");
    // The page before stays, unless the next one takes a while.
    const slow = setTimeout(() => replace(main, skeleton()), SLOW_MS);
    onShow(found?.view ?? null);
    // The view draws into an element of its own, so that a view that was left cannot draw over the next one.
    const page = h("div", { class: "page" });
    try {
      if (found === null) throw new Error("There is no such page.");
      const { render } = await found.view.load();
      await render(page, { parameters: found.parameters, query, signal, reload: show });
    } catch (error) {
      if (!signal.aborted) {
        replace(page, h("h1", { class: "unseen" }, "This page cannot be shown"), problem(error, { reload: show }));
      }
    }
    clearTimeout(slow);
    if (signal.aborted) return;
    replace(main, page);
    main.removeAttribute("aria-busy");
    // On a narrow screen, the tab of the page may be outside of the row of tabs.
    page.querySelector(".tabs [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    const heading = page.querySelector("h1");
    document.title = heading ? `${heading.textContent} · Scorewire` : "Scorewire";
    // Who came by a link goes on reading at the heading; who has just opened the page begins at its top.
    if (!first && heading) {
      heading.setAttribute("tabindex", "-1");
      heading.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    first = false;
  }

  addEventListener("hashchange", show);
  return show();
}

function unescaped(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
