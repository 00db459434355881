// The table of views. A view is a module with `render(page, context)`; it is loaded when it is first shown.
//
// `path`: what the address has after "#/"; ":name" stands for one segment, "*" for all that follow.
// `section`: which entry of the navigation is marked. `navigation`: the text of that entry, for the view that it
// leads to. `part`: the part of the gateway that has to be on for the entry to be there.
//
// The context has `parameters` (what stands for ":name"), `query` (URLSearchParams), `signal` (aborted when the view is
// left) and `reload()`. A tab of a model is a row here and a row in `parts/model_head.js`.

export const VIEWS = [
  { path: "", section: "models", navigation: "Models", load: () => import("./views/overview.js") },
  { path: "models/:model", section: "models", load: () => import("./views/model.js") },
  { path: "models/:model/score", section: "models", load: () => import("./views/score.js") },
  { path: "models/:model/comparison", section: "models", load: () => import("./views/comparison.js") },
  { path: "models/:model/statistics", section: "models", load: () => import("./views/statistics.js") },
  { path: "models/:model/records", section: "models", load: () => import("./views/records.js") },
  { path: "statistics", section: "statistics", navigation: "Statistics", load: () => import("./views/statistics.js") },
  { path: "records", section: "records", navigation: "Records", part: "records", load: () => import("./views/records.js") },
  { path: "records/:id", section: "records", load: () => import("./views/record.js") },
  { path: "files", section: "files", navigation: "Files", part: "files", load: () => import("./views/files.js") },
  { path: "files/*", section: "files", load: () => import("./views/files.js") },
  { path: "jobs", section: "jobs", navigation: "Jobs", part: "jobs", load: () => import("./views/jobs.js") },
  { path: "jobs/:id", section: "jobs", load: () => import("./views/job.js") },
];
