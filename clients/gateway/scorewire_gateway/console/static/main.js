// Begins the console: the bar at the top, and the views below it.

import { h, replace } from "./dom.js";
import { themeSwitch } from "./parts/theme_switch.js";
import { place, start } from "./router.js";
import { watchStatus } from "./status.js";
import { VIEWS } from "./views.js";

const PATIENCE_MS = 1000;

const main = document.getElementById("main");
const nav = document.getElementById("nav");

document.getElementById("theme").append(themeSwitch());
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

let shown = null;
let parts = new Set();

function showNavigation() {
  const entries = VIEWS.filter((view) => view.navigation && (!view.part || parts.has(view.part)));
  replace(nav, h("ul", {}, entries.map((view) => h("li", {},
    h("a", { id: `nav-${view.section}`, href: `#/${view.path}`, "aria-current": current(view) }, view.navigation)))));
  nav.querySelector("[aria-current]")?.scrollIntoView({ inline: "nearest", block: "nearest" });
}

function current(view) {
  if (shown?.section !== view.section) return null;
  return place().segments.join("/") === view.path ? "page" : "true";
}

// Views ask which parts of the gateway are on, so that the first of them waits for the status, but not for long.
const status = watchStatus(document.getElementById("health"), (status) => {
  parts = new Set(status?.gateway?.parts ?? []);
  showNavigation();
});
const patience = new Promise((resolve) => { setTimeout(resolve, PATIENCE_MS); });
Promise.race([status, patience]).then(() => start(VIEWS, main, (view) => {
  shown = view;
  showNavigation();
}));
