"""Opens the jobs of a gateway, as its settings say."""

from __future__ import annotations

from importlib.util import find_spec

from prometheus_client import CollectorRegistry

from scorewire_contract.service.settings import SettingError
from scorewire_gateway.jobs.folder import JobFolder
from scorewire_gateway.jobs.jobs import Jobs
from scorewire_gateway.jobs.limits import JobLimits
from scorewire_gateway.jobs.metrics import JobMetrics
from scorewire_gateway.jobs.process import PACKAGE
from scorewire_gateway.settings import Settings, library_variables


def open_jobs(settings: Settings, registry: CollectorRegistry) -> Jobs | None:
    """The jobs of a gateway, which begin with `start`; None without --jobs.

    Raises:
        SettingError: the training tool is not installed.
        StartError: the folder cannot be used, or another gateway uses it.
    """
    if settings.jobs is None:
        return None
    if find_spec(PACKAGE) is None or find_spec("xgboost") is None:
        raise SettingError(
            "--jobs needs the training tool: pip install 'scorewire-gateway[jobs]' "
            "'scorewire-training[xgboost-cpu]'"
        )
    limits = JobLimits(
        running=settings.jobs_running,
        waiting=settings.jobs_waiting,
        kept=settings.jobs_kept,
        upload_bytes=settings.max_upload_bytes,
        disk_bytes=settings.jobs_disk_bytes,
        free_bytes=settings.jobs_free_bytes,
        memory_bytes=settings.jobs_memory_bytes,
        niceness=settings.jobs_niceness,
        seconds=settings.jobs_seconds,
    )
    folder = JobFolder(settings.jobs)
    metrics = JobMetrics(registry)
    return Jobs(folder, limits, metrics, variables=library_variables(), models=settings.jobs_models)
