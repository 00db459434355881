"""The settings of the repurchase model, which need no library of models to be checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from scorewire_training.config import TrainingConfig
from scorewire_training.errors import TrainingError

DEFAULT_HORIZON_DAYS = 90
_MAX_HORIZON_DAYS = 3_650
_PART_LINES = 500_000
_MIN_MEMORY_MB = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RepurchaseConfig(TrainingConfig):
    """The settings of the repurchase model.

    Args:
        cut: the test cutoff, at the beginning of this day; None takes the last day
            of the data minus the horizon, the latest with a full horizon.
        horizon_days: the label is a purchase within this number of days from the
            cutoff on, 1 to 3650.

    Raises:
        TrainingError: a value is out of its range.
    """

    cut: date | None = None
    horizon_days: int = DEFAULT_HORIZON_DAYS

    def __post_init__(self) -> None:
        # With arguments: slots create a new class, which super() without arguments does not know.
        super(RepurchaseConfig, self).__post_init__()
        check_horizon(self.horizon_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """The resources of a stream.

    Args:
        memory_mb: the memory of DuckDB, at least 256; beyond it DuckDB spills to
            disk. A part in pandas takes up to 1 KB for each line in addition.
        threads: the threads of DuckDB, at least 1.
        part_lines: the approximate number of lines of a part; all lines of a
            customer are in one part.

    Raises:
        TrainingError: a value is out of its range.
    """

    memory_mb: int = 2_048
    threads: int = 2
    part_lines: int = _PART_LINES

    def __post_init__(self) -> None:
        for name, least in (("memory_mb", _MIN_MEMORY_MB), ("threads", 1), ("part_lines", 1)):
            if getattr(self, name) < least:
                raise TrainingError(f"{name} is {getattr(self, name)}: choose {least} or more")


def check_horizon(days: int) -> None:
    """Check the horizon of the label.

    Raises:
        TrainingError: the number of days is out of its range.
    """
    if not 1 <= days <= _MAX_HORIZON_DAYS:
        raise TrainingError(f"horizon_days is {days}: choose 1 to {_MAX_HORIZON_DAYS}")
