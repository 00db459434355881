from typing import TypedDict

__version__: str

class TlsSettings(TypedDict):
    """TLS: PEM of the authorities, of the client's certificate and key, and the name of the server."""

    roots: bytes
    identity: tuple[bytes, bytes] | None
    name: str

class Settings(TypedDict):
    """The settings of a run.

    Servers listen at numeric `addresses` with ports, which connections use in turn, or at `unix_path`.
    `calls` has the requests, and the number of rows of each. `streams` is None for unary calls,
    `concurrency` for an open loop, `poisson_seed` for constant arrivals. `volatile_fields` are the numbers
    of the fields of a response that differ with each call. A run that `spins` does not sleep.
    """

    addresses: list[tuple[str, int]]
    unix_path: str
    authority: str
    tls: TlsSettings | None
    path: str
    user_agent: str
    authorization: str | None
    calls: list[tuple[bytes, int]]
    volatile_fields: list[int]
    connections: int
    streams: int | None
    concurrency: int | None
    rate: float
    poisson_seed: int | None
    max_outstanding: int
    warmup_ns: int
    duration_ns: int
    timeout_ns: int
    max_message_bytes: int
    spins: bool

# The number of a second of the run, the calls that were answered and that failed in it, and p50, p99 and the
# largest latency in microseconds.
_Second = tuple[int, int, int, tuple[int, int, int] | None]

class Totals(TypedDict):
    """What was counted in the measured part.

    Attributes:
        unreadable: what was wrong with answers that are no message, and how many there were.
        latencies: microseconds and counts.
        lags: microseconds and counts.
        errors: status code, reason, count, and message of the first.
        answers: the call, which distinct answer to it, and how often it came.
        cpu_ns: time of the generator's thread on a core.
        queued_ns: its time in the run queue; None if the system does not tell.
        measured_ns: the time in which these two were measured.
    """

    elapsed_ns: int
    calls: int
    answered: int
    rows: int
    late: int
    held: int
    unsent: int
    unreadable: list[tuple[str, int]]
    latencies: list[tuple[int, int]]
    max_us: int
    lags: list[tuple[int, int]]
    max_lag_us: int
    errors: list[tuple[int, str, int, str]]
    seconds: list[_Second]
    answers: list[tuple[int, int, int]]
    cpu_ns: int
    queued_ns: int | None
    measured_ns: int

class Run:
    """A run on a thread of its own, which begins at once. Forgetting it ends it.

    Raises:
        ValueError: the settings are wrong.
        OSError: the system does not give what a run needs.
    """

    def __init__(self, settings: Settings) -> None: ...
    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long; returns whether the run has ended."""

    def stop(self) -> None:
        """Make no more calls, and wait for those in flight."""

    def progress(self) -> tuple[int, int, _Second | None]:
        """The measured calls that were answered and that failed so far, and the last second."""

    def take_answers(self) -> list[tuple[int, int | None, bool, bytes]]:
        """Take the answers that are new.

        Returns:
            The call, which of the distinct answers to it this is, whether it counts, and the answer
            without its volatile fields. A distinct answer comes once, and `Totals.answers` has its
            count. An answer beyond the bounds of what is kept comes each time, with None for its number;
            it counts if it belongs to the measured part.
        """

    def totals(self) -> Totals:
        """Take what was counted, once, after the end.

        Raises:
            RuntimeError: the run has not ended, or the totals were taken.
            OSError: the run failed.
        """
