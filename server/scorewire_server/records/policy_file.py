"""Follows the file of the policy, as editors and Kubernetes change it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scorewire_contract.bundle import BundleError, read_manifest
from scorewire_server.catalog.repository import scan
from scorewire_server.logs import logger
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
        self._warn()
        for name, rules in self.policy.models.items():
            if rules.features and (misfit := rules.misfit(_features(models, name))):
                raise PolicyError(f"{path}: [models.{name}.features]: {misfit}")

    async def look(self, misfit: Callable[[Policy], str]) -> bool:
        """Read the file again; whether there is a new policy.

        Its content is compared, since a link of Kubernetes leads to another file without a
        change of the one before.

        Args:
            misfit: tells what is wrong with a policy for the models that serve; "" if nothing.
        """
        if self._path is None:
            return False
        try:
            policy = await asyncio.to_thread(_read_again, self._path, self.policy)
            if policy != self.policy and (reason := misfit(policy)):
                raise PolicyError(f"{self._path}: {reason}")
        except PolicyError as error:
            problem = f"the policy is not replaced, the one before stays: {error}"
            if problem != self.problem:
                logger().error(
                    "the policy of records is not replaced, the one before stays", reason=str(error)
                )
            self.problem = problem
            return False
        self.problem = ""
        if policy == self.policy:
            return False
        self.policy = policy
        logger().info("policy of records replaced", file=str(self._path))
        self._warn()
        return True

    def _warn(self) -> None:
        if self.policy.exposed_key is not None:
            logger().warning("everyone may read the key of hashes", file=str(self.policy.exposed_key))


def _read_again(path: Path, policy: Policy) -> Policy:
    """The policy of a file; the one before if its files have not changed.

    Raises:
        PolicyError: the policy cannot be used.
    """
    return policy if policy.is_current else read_policy(path)


def _features(models: Path, name: str) -> list[list[str]]:
    """The names of the features of each bundle of a model that can be read."""
    found = []
    for folder in scan(models):
        if folder.model == name:
            with suppress(BundleError):
                found.append([each.name for each in read_manifest(folder.path).schema.features])
    return found
