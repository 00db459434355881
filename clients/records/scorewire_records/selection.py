"""Which records are meant: of a model, a version and a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from scorewire_contract.records.source import Source
from scorewire_records.parquet_files import RecordFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Records of a model, a version and a time; what is None does not matter.

    Attributes:
        model: the model.
        version: the version.
        begin: the earliest time.
        end: the time from which on records are left out.
    """

    model: str | None = None
    version: str | None = None
    begin: datetime | None = None
    end: datetime | None = None

    def may_have(self, file: RecordFile) -> bool:
        """Whether a file may have such records, by its folder."""
        return (
            self.model in (None, file.model)
            and self.version in (None, file.version)
            and (self.begin is None or file.day >= _day(self.begin))
            and (self.end is None or file.day <= _day(self.end))
        )

    def may_come_from(self, source: Source) -> bool:
        """Whether a source may give such records."""
        return self.model in (None, source.model) and self.version in (None, source.version)

    def condition(self) -> tuple[str, list[object]]:
        """The condition in SQL, and its parameters."""
        terms = {
            "model = ?": self.model,
            "version = ?": self.version,
            "time >= ?": self.begin,
            "time < ?": self.end,
        }
        given = {term: value for term, value in terms.items() if value is not None}
        return " AND ".join(given) or "true", list(given.values())


def _day(time: datetime) -> str:
    return time.astimezone(UTC).date().isoformat()
