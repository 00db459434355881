// All models: states of their versions, routing, and what they do now.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { count, counted, duration, percent, seconds } from "../format.js";
import { aliases, splitShares } from "../models.js";
import { badge, splitBar, state } from "../parts/badge.js";
import { pageHead } from "../parts/model_head.js";
import { notice } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { aliasList } from "../parts/routing.js";
import { tiles } from "../parts/table.js";
import { every } from "../refresh.js";
import { link } from "../router.js";
import { sum } from "../statistics.js";

const SECONDS = 5;
const SEARCH_FROM = 8;
const NOT_OBSERVED = "your token may not observe";

export async function render(page, { signal, reload }) {
  let wanted = "";
  const status = h("div", {});
  const list = h("div", { class: "cards" });
  const search = h("input", { type: "search", id: "model-search", placeholder: "Filter models", "aria-label": "Filter models by name",
    oninput: () => { wanted = search.value.trim().toLowerCase(); show(); } });
  const searching = h("div", { class: "search" });
  const error = h("div", {});
  let found = await read(signal);

  function show() {
    const models = found.models.filter((each) => each.name.toLowerCase().includes(wanted));
    replace(status, summary(found));
    if (found.models.length >= SEARCH_FROM && !searching.firstChild) searching.append(search);
    if (found.models.length === 0) replace(list, noModels());
    else if (models.length === 0) replace(list, notice("empty", "No model has this in its name", `There are ${found.models.length} models.`));
    else replace(list, models.map((model) => card(model, found.routes.filter((each) => each.model === model.name), found.isObserved)));
  }

  replace(page, pageHead("Models", "What the server serves, and how calls are routed."), error, status, searching, list);
  show();
  let isFirst = true;
  every(SECONDS, signal, async () => {
    if (!isFirst) found = await read(signal);
    isFirst = false;
    replace(error);
    show();
  }, (failure) => replace(error, problem(failure, { reload })));
}

async function read(signal) {
  const [{ models }, { statistics: routes }, status] = await Promise.all([
    get("models", { signal }), get("stats", { signal }).catch(unobserved), get("status", { signal }),
  ]);
  return { models, routes: routes ?? [], isObserved: routes !== null, status };
}

/** No statistics, for a caller who has no right to observe. */
function unobserved(error) {
  if (error.isForbidden) return { statistics: null };
  throw error;
}

function summary({ models, routes, isObserved, status }) {
  const states = models.flatMap((each) => each.versions.map((version) => version.state));
  const all = sum(routes.filter((each) => !each.shadow));
  const refused = states.filter((each) => each === "refused").length;
  const { server } = status;
  return tiles([
    ["Versions that serve", count(states.filter((each) => each === "serving").length),
      [`of ${counted(models.length, "model")}`, refused > 0 ? [", ", h("span", { class: "bad" }, `${count(refused)} refused`)] : null]],
    ["Rows scored", isObserved ? count(all.rows) : "–", isObserved ? `in ${counted(all.calls, "call")}` : NOT_OBSERVED],
    ["Calls that failed", all.attempts ? percent(all.failed / all.attempts) : "–", isObserved ? counted(all.failed, "call") : NOT_OBSERVED],
    ["Server", server.version, `${server.engine} engine, up ${duration(server.uptime_seconds)}`],
  ]);
}

function noModels() {
  return notice("empty", "The server has no models yet",
    "Export a model with export_bundle or scorewire train into the folder that the server watches. It appears here as soon as it serves.");
}

function card(model, routes, isObserved) {
  const shares = splitShares(model.routing);
  const named = aliases(model.routing);
  const { shadow } = model.routing ?? {};
  const did = sum(routes.filter((each) => !each.shadow));
  const serving = model.versions.filter((each) => each.state === "serving");
  const others = model.versions.filter((each) => each.state !== "serving");
  return h("article", { class: "card model-card" },
    h("div", { class: "card-head" },
      h("h2", {}, h("a", { id: `model-${model.name}`, class: "card-link", href: link(["models", model.name]) }, model.name)),
      model.default_version ? state("serving") : state(others[0]?.state ?? "unloaded"),
    ),
    h("p", { class: "card-figures" }, did.calls > 0
      ? [h("strong", {}, count(did.rows)), " rows", separator(), h("strong", {}, seconds(did.latency(0.5))), " median", separator(),
        h("strong", { class: did.failed > 0 ? "bad" : null }, percent(did.failed / did.attempts)), " failed"]
      : h("span", { class: "soft" }, isObserved ? "No calls yet" : "")),
    h("div", { class: "card-body" },
      shares.length > 1 ? splitBar(shares) : h("p", { class: "answers" }, model.default_version
        ? [h("strong", {}, model.default_version), h("span", { class: "soft" }, " answers")] : h("span", { class: "soft" }, "No version answers")),
      h("div", { class: "badges" },
        shadow ? badge(`shadow ${shadow.version}, ${percent(shadow.share)}`, "shadow") : null,
        serving.length > 1 ? badge(`${serving.length} versions serve`, "plain") : null,
        others.map((each) => h("span", { title: each.reason || null }, badge(`${each.version} ${each.state}`, each.state === "refused" ? "bad" : each.state === "unloaded" ? "off" : "busy")))),
      named.length > 0 ? aliasList(named) : null,
      model.warning ? h("p", { class: "card-warning" }, model.warning) : null,
    ),
  );
}

function separator() {
  return h("span", { class: "separator", "aria-hidden": "true" }, "·");
}
