"""What a command is doing, told on stderr: stdout has results only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

# Of one stage, where stderr is a file.
_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """Gives what shows the sentence of a stage.

    What stands in brackets at its end is how far the stage is. A terminal has one line
    that changes; else each stage is a line, and one that takes long a line now and then.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console).tell
        return
    begin = time.monotonic()
    with console.status("Starting") as status:
        yield lambda sentence: status.update(f"{sentence} ... {time.monotonic() - begin:.0f} s")


class _Lines:
    """Sentences as lines, those of one stage at intervals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._told = 0.0

    def tell(self, sentence: str) -> None:
        stage, now = sentence.partition(" (")[0], time.monotonic()
        if stage != self._stage or now - self._told >= _SECONDS_BETWEEN_LINES:
            self._stage, self._told = stage, now
            self._console.print(f"{sentence} ...", markup=False, highlight=False, soft_wrap=True)
