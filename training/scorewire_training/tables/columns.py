"""The columns of a table by their meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from scorewire_contract.spelling import suggestion
from scorewire_training.errors import TrainingError
from scorewire_training.tables.notes import TableNote

_MAX_NAMES = 40
_MAX_NAME = 80


def match_columns(
    columns: Sequence[str], spellings: Mapping[str, Sequence[str]], given: Mapping[str, str]
) -> dict[str, str]:
    """Find the columns that have a meaning.

    Args:
        columns: the names of the table's columns.
        spellings: the usual names by meaning, in lower case without spaces and
            underscores; a column with such a name is found without being given.
        given: names of columns by meaning, which come before the usual names.

    Returns:
        The names of the table's columns by meaning, in the order of `spellings`.

    Raises:
        TrainingError: a meaning or a given column does not exist, or two columns have the same meaning.
    """
    for role, column in given.items():
        if role not in spellings:
            raise TrainingError(
                f"column {role}={column}: no column is called {role}; the names are "
                f"{', '.join(spellings)}{suggestion(role, spellings)}"
            )
        if column not in columns:
            raise TrainingError(
                f"the table has no column {column}, which was given as the {role}; "
                f"it has {list_names(columns)}{suggestion(column, columns)}"
            )
    found = {}
    keys = {column: _normalize(column) for column in columns if column not in given.values()}
    for role, names in spellings.items():
        matches = [given[role]] if role in given else [name for name, key in keys.items() if key in names]
        if len(matches) > 1:
            raise TrainingError(
                f"columns {' and '.join(matches)} are both the {role}: leave one out, or say which it is "
                f"with --column '{role}={matches[0]}'"
            )
        if matches:
            found[role] = matches[0]
    repeated = [name for name, count in Counter(columns).items() if count > 1 and name in found.values()]
    if repeated:
        raise TrainingError(f"the table has two columns named {repeated[0]}: rename one")
    for column in found.values():
        # Databases do not tell such names apart.
        if alike := [name for name in columns if name != column and name.casefold() == column.casefold()]:
            raise TrainingError(f"columns {column} and {alike[0]} differ only in case: rename one")
    return found


def require_columns(found: Mapping[str, str], required: Iterable[str], columns: Sequence[str]) -> None:
    """Check that columns with some meanings were found.

    Raises:
        TrainingError: a column is missing; the message lists the required and the existing columns.
    """
    wanted = list(required)
    if missing := [role for role in wanted if role not in found]:
        raise TrainingError(
            f"the table has no column {', '.join(missing)}: it must have {', '.join(wanted)}, "
            f"and has {list_names(columns)}; {explain_option(missing[0], columns)}"
        )


def list_names(columns: Sequence[str]) -> str:
    """The names of a table's columns for an error message, not more than fit in one."""
    listed = ", ".join(
        column if len(column) <= _MAX_NAME else f"{column[:_MAX_NAME]}..." for column in columns[:_MAX_NAMES]
    )
    return f"{listed} and {len(columns) - _MAX_NAMES:,} more" if len(columns) > _MAX_NAMES else listed


def explain_option(role: str, columns: Sequence[str]) -> str:
    """How to tell the name of a column that was not found, or what divides a line that is one column."""
    if len(columns) == 1:
        return "if another character divides the values of a CSV file, pass --delimiter"
    return f"if a column has another name, pass --column {role}=NAME"


def note_columns(found: Mapping[str, str], given: Mapping[str, str]) -> list[TableNote]:
    """Which columns were taken as what; those that have the name of their meaning in one note."""
    own = [role for role, column in found.items() if column == role and role not in given]
    notes = [TableNote("columns", f"{', '.join(own)} (by their names)")] if own else []
    return notes + [
        TableNote(role, f"column {column} ({'given' if role in given else 'by its name'})")
        for role, column in found.items()
        if role not in own
    ]


def _normalize(column: str) -> str:
    return column.lower().replace("_", "").replace(" ", "")
