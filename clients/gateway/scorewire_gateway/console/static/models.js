// What models say of themselves, in the terms of the views.

/** The shares of the versions of a split, the largest first; empty if there is no split. */
export function splitShares(routing) {
  const weights = Object.entries(routing?.split ?? {}).filter(([, weight]) => weight > 0);
  const sum = weights.reduce((all, [, weight]) => all + weight, 0);
  return weights
    .map(([version, weight]) => ({ version, weight, share: weight / sum }))
    .sort((a, b) => b.weight - a.weight);
}

/** The versions that answer calls. */
export function servingVersions(status) {
  return status.versions.filter((each) => each.state === "serving").map((each) => each.version);
}

/** The aliases as pairs, by name. */
export function aliases(routing) {
  return Object.entries(routing?.aliases ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Whether two versions can be compared without naming them: a split over two, or a shadow. */
export function hasComparison(status) {
  return splitShares(status.routing).length === 2 || Boolean(status.routing?.shadow && status.default_version);
}

/** What a version is to the calls that name no version: "default", a share of the split, or "shadow". */
export function role(status, version) {
  const shares = splitShares(status.routing);
  const share = shares.find((each) => each.version === version);
  const roles = [];
  if (shares.length > 1 && share) roles.push({ name: "split", share: share.share });
  else if (status.default_version === version) roles.push({ name: "default" });
  if (status.routing?.shadow?.version === version) roles.push({ name: "shadow", share: status.routing.shadow.share });
  return roles;
}
