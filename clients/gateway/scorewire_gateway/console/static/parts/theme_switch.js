// The switch between the light page, the dark page, and what the system says.

import { h, replace, s } from "../dom.js";

const KEY = "scorewire-theme";
const THEMES = [
  ["system", "Theme: as the system", "M4 5h16v11H4zM9 20h6M12 16v4"],
  ["light", "Theme: light", "M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M4.900 4.900l1.400 1.400M17.700 17.700l1.400 1.400M4.900 19.100l1.400-1.400M17.700 6.300l1.400-1.400"],
  ["dark", "Theme: dark", "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z"],
];

/** A button that goes from one theme to the next. */
export function themeSwitch() {
  const button = h("button", { type: "button", class: "icon-button", id: "theme-switch", onclick: () => {
    const index = THEMES.findIndex(([name]) => name === chosen());
    choose(THEMES[(index + 1) % THEMES.length][0]);
    show();
  } });
  function show() {
    const [, label, path] = THEMES.find(([name]) => name === chosen());
    button.setAttribute("aria-label", label);
    button.title = label;
    replace(button, s("svg", { viewBox: "0 0 24 24", width: 18, height: 18, "aria-hidden": "true" },
      s("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" })));
  }
  show();
  return button;
}

function chosen() {
  return document.documentElement.dataset.theme ?? "system";
}

function choose(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // The choice holds until the page is left.
  }
}
