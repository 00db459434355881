// Scores one row: a form from the schema, the answer, and the same call as a program.

import { get, pathOf, post } from "../api.js";
import { announce, h, replace } from "../dom.js";
import { Field } from "../parts/field.js";
import { modelHead } from "../parts/model_head.js";
import { notice } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { versionPicker } from "../parts/version_picker.js";
import { answer } from "../score/answer.js";
import { codeBox } from "../score/code_box.js";
import { SHOWN, explains } from "../score/contributions.js";
import { RowForm } from "../score/form.js";
import { snippets } from "../score/snippets.js";

export async function render(page, { parameters: { model }, query, signal }) {
  const version = query.get("version") ?? "";
  const found = await get(pathOf("models", model), { query: { version }, signal });
  const { schema } = found;
  const example = found.example?.row ?? {};
  const numbers = new Set(schema.features.filter((each) => each.kind === "number").map((each) => each.name));
  const path = `${version ? pathOf("models", model, "versions", version) : pathOf("models", model)}:predict`;

  const code = codeBox();
  const key = h("input", { name: "routing_key", autocomplete: "off", spellcheck: "false", oninput: showCode });
  const form = new RowForm(schema.features, showCode);
  const why = h("input", { type: "checkbox", name: "explain", onchange: showCode });
  const body = () => ({
    row: form.row(),
    ...(key.value ? { routing_key: key.value } : {}),
    ...(why.checked ? { explain: SHOWN } : {}),
  });
  function showCode() {
    code.show(snippets(path, body(), { model, version, numbers }));
  }
  const fill = (row) => { form.fill(row); showCode(); };

  const result = h("div", { class: "result" }, notice("empty", "No score yet", "Change the values if you like, and press Score."));
  const failure = h("div", {});
  const submit = h("button", { type: "submit", class: "button button-main" }, "Score");

  async function score(event) {
    event.preventDefault();
    replace(failure);
    if (!form.check()) {
      announce("The row was not sent: a field is wrong");
      return;
    }
    submit.disabled = true;
    const row = body();
    const begin = performance.now();
    try {
      const answered = await post(path, row, { signal });
      const seconds = (performance.now() - begin) / 1000;
      const { error } = answered.prediction;
      if (error) showFailure([error], answered);
      else {
        replace(result, answer(answered, schema, seconds));
        announce("Scored");
      }
    } catch (error) {
      if (signal.aborted) return;
      const errors = error.violations?.map(asRowError) ?? [];
      if (errors.length > 0) showFailure(errors);
      else replace(failure, problem(error, { reload: () => form.element.closest("form").requestSubmit() }));
    } finally {
      submit.disabled = false;
    }
  }

  function showFailure(errors) {
    const rest = form.showErrors(errors);
    replace(failure, notice("error", "The row was not scored",
      rest.length > 0 ? rest.map((each) => each.message).join("; ") : "The model does not take a value. The reason stands beside its field."));
  }

  fill(example);
  replace(page,
    modelHead(model, "score", versionPicker(found, version, { to: ["models", model, "score"] })),
    h("div", { class: "score" },
      h("form", { class: "panel score-form", novalidate: true, "aria-label": `Row of ${model}`, onsubmit: score },
        h("div", { class: "panel-head" }, h("h2", {}, "Row"),
          h("div", { class: "button-row" },
            h("button", { type: "button", class: "button button-small", onclick: () => fill(example) }, "Example"),
            h("button", { type: "button", class: "button button-small", onclick: () => fill({}) }, "Clear"))),
        form.element,
        h("details", { class: "more" }, h("summary", {}, "Routing key"),
          new Field("Routing key", key, { hint: "Calls with the same key get the same version of a split." }).element),
        h("div", { class: "form-end" }, submit,
          explains(found) ? h("label", { class: "toggle" }, why, "Explain") : null,
          h("span", { class: "hint" }, "An empty field is a missing value.")),
      ),
      h("div", { class: "score-side" },
        h("section", { class: "panel", "aria-label": "Answer" }, h("h2", {}, "Answer"), failure, result),
        h("section", { class: "panel", "aria-label": "The same call as a program" }, h("h2", {}, "The same call as a program"), code.element),
      ),
    ),
  );
}

/** A violation such as "rows[0].age" or "row.age" as the error of a feature. */
function asRowError({ field, description }) {
  return { feature: /^rows?(?:\[\d+\])?[.](.*)$/s.exec(field)?.[1] ?? field, message: description };
}
