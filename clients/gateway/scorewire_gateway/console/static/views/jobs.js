// Training jobs: those that there are, and a form for a new one.

import { get, upload } from "../api.js";
import { announce, h, replace } from "../dom.js";
import { bytes, counted, duration, percent } from "../format.js";
import { JobForm } from "../jobs/form.js";
import { progressBar } from "../jobs/progress.js";
import { state, timeMark } from "../parts/badge.js";
import { pageHead } from "../parts/model_head.js";
import { notice } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { table } from "../parts/table.js";
import { every } from "../refresh.js";
import { link } from "../router.js";

const SECONDS = 3;

export async function render(page, { signal, reload }) {
  const list = h("div", {});
  const failure = h("div", {});
  let limits = null;
  const read = async () => {
    const found = await get("jobs", { signal });
    limits = found.limits;
    replace(failure);
    replace(list, found.jobs.length === 0
      ? notice("empty", "No jobs yet", "Choose a table on this page, and start one.")
      : h("section", { class: "panel panel-flush" }, jobTable(found.jobs)));
  };
  await read();
  replace(page, pageHead("Jobs", "Train a model on a table, or make its features. A job runs in the background; this page may be closed."),
    failure, newJob(limits, signal), list);
  every(SECONDS, signal, read, (error) => replace(failure, problem(error, { reload })));
}

function newJob(limits, signal) {
  const form = new JobForm();
  const told = h("div", {});
  const submit = h("button", { type: "submit", class: "button button-main" }, "Start the job");
  return h("form", { class: "panel", novalidate: true, "aria-label": "New job", onsubmit: async (event) => {
    event.preventDefault();
    replace(told);
    if (!form.check()) return;
    submit.disabled = true;
    const shown = progressBar(0, "Upload");
    replace(told, shown.element);
    try {
      const { job } = await upload("jobs", form.file, {
        query: form.query(), signal, onProgress: (share) => shown.set(share, `${percent(share)} of ${bytes(form.file.size)} sent`),
      });
      announce("The job was taken");
      location.hash = link(["jobs", job.id]);
    } catch (error) {
      if (signal.aborted) return;
      const wrong = violations(error);
      const rest = form.showErrors(wrong);
      replace(told, wrong.length > 0 && rest.length === 0 ? null : problem(error));
    } finally {
      submit.disabled = false;
    }
  } },
    h("h2", {}, "New job"),
    form.element,
    told,
    h("div", { class: "form-end" }, submit,
      h("span", { class: "hint" }, `CSV or Parquet, up to ${bytes(limits.upload_bytes)}. ${counted(limits.running, "job")} at one time, ${limits.waiting} more may wait; a job may take ${duration(limits.seconds)}.`)),
  );
}

/** What is wrong with which field; settings are named by the option of the command that checks them. */
function violations({ violations: found, message }) {
  const option = /'--([a-z-]+)'/.exec(message);
  return found.length === 0 && option ? [{ field: option[1].replaceAll("-", "_"), description: message }] : found;
}

function jobTable(jobs) {
  return table("Jobs, newest first", [
    { title: "Job", heading: true, cell: (each) => h("a", { id: `job-${each.id}`, href: link(["jobs", each.id]) }, each.kind === "train" ? `Train ${each.model}` : `Features of ${each.model}`) },
    { title: "State", cell: (each) => state(each.state) },
    { title: "Table", cell: (each) => [each.file, h("small", {}, bytes(each.bytes))] },
    { title: "Begun", cell: (each) => timeMark(each.created_at) },
    { title: "Now", wide: true, cell: (each) => each.stage?.sentence ?? each.error?.message ?? "–" },
  ], jobs);
}
