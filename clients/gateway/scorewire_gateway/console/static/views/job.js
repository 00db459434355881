// One job: how far it is, what came of it, and what one can do with it.

import { address, call, follow, get, pathOf, saving } from "../api.js";
import { announce, h, replace } from "../dom.js";
import { asTime, bytes, duration, number } from "../format.js";
import { progressBar } from "../jobs/progress.js";
import { state, timeMark } from "../parts/badge.js";
import { copyButton } from "../parts/copy.js";
import { notice } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { facts, table } from "../parts/table.js";
import { link } from "../router.js";

const ENDED = ["succeeded", "failed", "cancelled"];

export async function render(page, { parameters: { id }, signal }) {
  const [{ job: first }, { publishing }] = await Promise.all([get(pathOf("jobs", id), { signal }), get("jobs", { signal })]);
  const body = h("div", { class: "page" });
  const actions = h("div", { class: "head-side" });
  const failure = h("div", {});
  let told = first.state;

  async function act(method, path, done) {
    replace(failure);
    try {
      // The type is one that a form of another page cannot send.
      const response = await call(address(path), { method, signal, headers: { "Content-Type": "application/json" } });
      announce(done);
      if (method === "DELETE") location.hash = link(["jobs"]);
      else show((await response.json()).job);
    } catch (error) {
      if (!signal.aborted) replace(failure, problem(error));
    }
  }

  function show(job) {
    if (job.state !== told) announce(`The job is ${job.state}`);
    told = job.state;
    const path = pathOf("jobs", id);
    const hasEnded = ENDED.includes(job.state);
    replace(actions,
      publishing && job.result?.bundle && !job.published
        ? button("publish", "Publish the model", () => act("POST", `${path}:publish`, "Published")) : null,
      hasEnded ? button("delete", "Delete", confirmed(() => act("DELETE", path, "Deleted")), "button-danger")
        : button("cancel", "Cancel", () => act("POST", `${path}:cancel`, "Cancelled")));
    replace(body, parts(job, hasEnded, (error) => replace(failure, problem(error))));
  }

  replace(page,
    h("div", { class: "head" },
      h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "#/jobs" }, "Jobs"), h("span", { "aria-hidden": "true" }, " / "), h("span", { "aria-current": "true" }, id)),
      h("div", { class: "head-row" }, h("h1", {}, first.kind === "train" ? `Train ${first.model}` : `Features of ${first.model}`), actions)),
    failure, body);
  show(first);
  if (!ENDED.includes(first.state)) {
    follow(`${pathOf("jobs", id)}/events`, signal, changed).catch((error) => replace(failure, problem(error)));
  }

  /** Shows a change, as the gateway tells it; false if it is the last one. */
  function changed(name, data) {
    if (name === "deleted") {
      location.hash = link(["jobs"]);
      return false;
    }
    const job = JSON.parse(data);
    show(job);
    return !ENDED.includes(job.state);
  }
}

function button(id, text, onclick, kind = "") {
  return h("button", { type: "button", class: `button ${kind}`, id: `job-${id}`, onclick }, text);
}

/** A handler that asks for a second press first. */
function confirmed(action) {
  return (event) => {
    const pressed = event.currentTarget;
    if (pressed.dataset.asked) return action();
    pressed.dataset.asked = "yes";
    pressed.textContent = "Really delete?";
  };
}

function parts(job, hasEnded, onError) {
  return [
    job.error ? notice("error", "The job failed", job.error.message) : null,
    job.published ? notice("good", "The model was published", "The server loads it as its version policy says.") : null,
    h("div", { class: "columns" },
      h("div", { class: "column-main" },
        hasEnded ? null : panel("Progress", progress(job)),
        job.files.length > 0 ? panel("Files", fileTable(job, onError)) : null,
        job.result?.commands ? panel("What to do next", commands(job.result.commands)) : null,
        job.log.length > 0 ? panel("Log", h("pre", { class: "code log", tabindex: "0", role: "region", "aria-label": "Log" }, job.log.join("\n"))) : null),
      h("aside", { class: "column-side", "aria-label": "About the job" },
        panel("Job", about(job)),
        job.result?.metrics ? panel("Metrics", facts(figures(job.result.metrics))) : null)),
  ];
}

function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), children);
}

function progress(job) {
  if (job.position) return h("p", {}, `The job waits; it is number ${job.position} in the queue.`);
  const { sentence = "The job begins", done = 0, total = 0 } = job.stage ?? {};
  const shown = progressBar(total > 0 ? done / total : 0, "Progress of the job");
  shown.set(total > 0 ? done / total : 0, total > 0 ? `${done} of ${total}` : "");
  return [h("p", {}, sentence), shown.element];
}

function about(job) {
  const begun = asTime(job.started_at);
  const ended = asTime(job.ended_at);
  return facts([
    ["State", state(job.state)],
    ["Table", `${job.file}, ${bytes(job.bytes)}`],
    ["Begun", timeMark(job.created_at)],
    begun && ended ? ["Took", duration((ended - begun) / 1000)] : null,
    job.result?.version ? ["Version", job.result.version] : null,
    ...Object.entries(job.settings).filter(([name]) => name !== "version" || !job.result?.version).map(([name, value]) => [name.replaceAll("_", " "), [value].flat().join(", ")]),
    ["Id", h("code", {}, job.id)],
  ]);
}

/** Metrics as `scorewire train` tells them, with their intervals where these are known. */
function figures(metrics) {
  return metrics.map(({ title, meaning, shown, interval }) => [title, h("span", { title: meaning }, shown,
    interval ? h("small", { class: "soft" }, ` ${number(interval[0], 3)} to ${number(interval[1], 3)}`) : null)]);
}

function fileTable(job, onError) {
  return table("Files of the job", [
    { title: "File", heading: true, wide: true, cell: (each) => h("a", { href: address(pathOf("jobs", job.id, "files", each.name)).pathname, download: each.name, onclick: saving(each.name, onError) }, each.name) },
    { title: "Size", numeric: true, cell: (each) => bytes(each.bytes) },
  ], job.files);
}

function commands(lines) {
  const text = lines.join("\n");
  return [h("pre", { class: "code" }, text), h("div", {}, copyButton(() => text, { what: "the commands" }))];
}
