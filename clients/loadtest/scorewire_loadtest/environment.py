"""Where and when a run took place, so that its report can be compared with others later."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from scorewire import ServerInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """When and where a run took place.

    Attributes:
        date: when the run began: UTC, ISO 8601.
        scorewire: the release of the load generator.
        kernel: the kernel's name and release.
        machine: the architecture of the machine.
        cores: the number of cores of the machine.
        usable_cores: the number of cores that the generator may use.
        python: the version of Python.
        server: release, engine and description of the server, as it tells them; None if
            it does not.
    """

    date: str
    scorewire: str
    kernel: str
    machine: str
    cores: int
    usable_cores: int
    python: str
    server: dict[str, str] | None

    @classmethod
    def of(cls, begun_at: datetime, server: ServerInfo | None) -> Environment:
        """The environment of a run in this process."""
        cores = os.cpu_count() or 1
        affinity = getattr(os, "sched_getaffinity", None)
        return cls(
            date=begun_at.isoformat(timespec="seconds"),
            scorewire=version("scorewire-loadtest"),
            kernel=f"{platform.system()} {platform.release()}",
            machine=platform.machine(),
            cores=cores,
            usable_cores=len(affinity(0)) if affinity else cores,
            python=platform.python_version(),
            server=None
            if server is None
            else {"version": server.version, "engine": server.engine, "description": server.description},
        )

    def describe(self) -> dict[str, str]:
        """The environment for people, by name."""
        server = self.server
        cores = f"{self.usable_cores} of {self.cores} cores"
        return {
            "engine": f"{server['engine']}, scorewire {server['version']}" if server else "not told",
            "date": self.date,
            "host": f"{self.kernel}, {self.machine}, {cores}, Python {self.python}",
        }
