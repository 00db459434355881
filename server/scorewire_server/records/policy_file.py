"""Follows the file of the policy, as editors and Kubernetes change it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scorewire_contract.bundle import BundleError, read_manifest
from scorewire_contract.service.logs import logger
from scorewire_server.catalog.repository import scan
from scorewire_server.records.policy import Policy, PolicyError, read_policy


class PolicyFile:
    """The policy of --records-policy; without a file, everything is recorded.

    A file that cannot be used changes nothing: the policy before stays.

    Attributes:
        policy: the policy that is in force.
        problem: why the file is not in force; "" if it is.

    Raises:
        PolicyError: the file cannot be used, or does not fit the bundles.
    """

    def __init__(self, path: Path | None, models: Path) -> None:
        self._path = path
        self.policy = Policy() if path is None else read_policy(path)
        self.problem = ""
        # What the last look has found: the contents of the files, or why they cannot be used.
        self._seen: tuple[tuple[Path, bytes], ...] | str = self.policy.files
        self._warn()
        for name, rules in self.policy.models.items():
            if rules.features and (misfit := rules.misfit(_features(models, name))):
                raise PolicyError(f"{path}: [models.{name}.features]: {misfit}")

    async def look(self, misfit: Callable[[Policy], str]) -> bool:
        """Read the file again; whether there is a new policy.

        Its content is compared, since a link of Kubernetes leads to another file without a
        change of the one before. What is found is used once two looks have found the same:
        a file that is being written may be a valid policy that drops nothing yet.

        Args:
            misfit: tells what is wrong with a policy for the models that serve; "" if nothing.
        """
        if self._path is None:
            return False
        found = await asyncio.to_thread(_read_again, self._path, self.policy)
        seen, self._seen = self._seen, found if isinstance(found, str) else found.files
        if found == self.policy:
            self.problem = ""
            return False
        if seen != self._seen:
            return False
        if isinstance(found, str):
            return self._refuse(found)
        if reason := misfit(found):
            return self._refuse(f"{self._path}: {reason}")
        self.policy, self.problem = found, ""
        logger().info("policy of records replaced", file=str(self._path))
        self._warn()
        return True

    def _refuse(self, reason: str) -> bool:
        problem = f"the policy is not replaced, the one before stays: {reason}"
        if problem != self.problem:
            logger().error("the policy of records is not replaced, the one before stays", reason=reason)
        self.problem = problem
        return False

    def _warn(self) -> None:
        if self.policy.exposed_key is not None:
            logger().warning("everyone may read the key of hashes", file=str(self.policy.exposed_key))


def _read_again(path: Path, policy: Policy) -> Policy | str:
    """The policy of a file, the one before if its files have not changed; or why it cannot be used."""
    try:
        return policy if policy.is_current else read_policy(path)
    except PolicyError as error:
        return str(error)


def _features(models: Path, name: str) -> list[list[str]]:
    """The names of the features of each bundle of a model that can be read."""
    found = []
    for folder in scan(models):
        if folder.model == name:
            with suppress(BundleError):
                found.append([each.name for each in read_manifest(folder.path).schema.features])
    return found
