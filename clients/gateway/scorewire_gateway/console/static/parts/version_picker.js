// Chooses which version a page is about.

import { h, newId } from "../dom.js";
import { aliases, servingVersions } from "../models.js";
import { link } from "../router.js";

/** Names a call may give, with how they read: the default route, versions that serve, aliases. */
export function versionChoices(status) {
  return [
    ["", status.default_version ? "Default route" : "Default route (no version answers)"],
    ...servingVersions(status).map((version) => [version, version]),
    ...aliases(status.routing).map(([alias, version]) => [alias, `${alias} (${version})`]),
  ];
}

/**
 * A list of the choices; a choice goes to the place `to`, or is told to `onChange`.
 * @param {Object} status the model
 * @param {string} chosen
 */
export function versionPicker(status, chosen, { to = null, onChange = null } = {}) {
  const id = newId("version");
  const choices = versionChoices(status);
  if (!choices.some(([name]) => name === chosen)) choices.push([chosen, chosen]);
  const select = h("select", { id, onchange: () => {
    if (onChange) onChange(select.value);
    else location.hash = link(to, { version: select.value });
  } }, choices.map(([name, text]) => h("option", { value: name, selected: name === chosen }, text)));
  return h("div", { class: "picker" }, h("label", { for: id }, "Version"), select);
}
