"""What the gateway counts of jobs, for Prometheus."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scorewire_gateway.jobs.job import Job, JobState

_MINUTE = 60.0
_BUCKETS = (1.0, 10.0, 30.0, *(_MINUTE * minutes for minutes in (1, 3, 10, 30, 60, 180, 360)))


class JobMetrics:
    """The metrics of jobs; label values come from fixed lists."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs = Gauge(
            "scorewire_gateway_jobs_kept",
            "Jobs in the folder of jobs, by state.",
            ["state"],
            registry=registry,
        )
        self.ended = Counter(
            "scorewire_gateway_jobs_ended",
            "Jobs that ended, by kind, model and last state.",
            ["kind", "model", "state"],
            registry=registry,
        )
        self.refused = Counter(
            "scorewire_gateway_jobs_refused",
            "Requests for a job that were refused, by reason.",
            ["reason"],
            registry=registry,
        )
        self.uploaded_bytes = Counter(
            "scorewire_gateway_jobs_uploaded_bytes", "Bytes of tables that were uploaded.", registry=registry
        )
        self.disk_bytes = Gauge(
            "scorewire_gateway_jobs_disk_bytes",
            "Bytes of all files of all jobs, when they were last counted.",
            registry=registry,
        )
        self.seconds = Histogram(
            "scorewire_gateway_jobs_seconds",
            "Time that a job ran, by kind and model.",
            ["kind", "model"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.show([])

    def show(self, jobs: Iterable[Job]) -> None:
        """Set the number of jobs by state."""
        counts = Counts(job.state for job in jobs)
        for state in JobState:
            self._jobs.labels(str(state)).set(counts[state])
