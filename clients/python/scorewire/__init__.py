"""Python SDK of the Scorewire prediction server.

from scorewire import Client

with Client("127.0.0.1:8500") as client:
    print(client.predict("churn", {"age": 41, "country": "PE"}).score)
"""

from __future__ import annotations

from scorewire._async_client import AsyncClient
from scorewire._breaker import BreakerState, CircuitBreaker
from scorewire._channels import TLS
from scorewire._client import Client
from scorewire._contributions import Contributions, RowContributions
from scorewire._credentials import Token, TokenFile
from scorewire._errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    Code,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    InvalidRowsError,
    NotExplainedError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ScorewireError,
    TokenError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
    Violation,
)
from scorewire._explain import Explain
from scorewire._hedging import Hedging
from scorewire._ledger import RecordLedger
from scorewire._metadata import Metadata
from scorewire._models import (
    Caller,
    Feature,
    FeatureKind,
    Model,
    ModelStatus,
    Output,
    OutputExplanation,
    OutputKind,
    Routing,
    Schema,
    ServerInfo,
    Shadow,
    VersionState,
    VersionStatus,
)
from scorewire._predictions import Prediction, Predictions, RowError
from scorewire._retries import Retries
from scorewire._rows import Row, Rows
from scorewire._statistics import Bucket, Distribution, RouteStatistics

__all__ = [
    "TLS",
    "AbortedError",
    "AlreadyExistsError",
    "AsyncClient",
    "BreakerState",
    "Bucket",
    "Caller",
    "CancelledError",
    "CircuitBreaker",
    "Client",
    "Code",
    "Contributions",
    "DataLossError",
    "DeadlineExceededError",
    "Distribution",
    "Explain",
    "FailedPreconditionError",
    "Feature",
    "FeatureKind",
    "Hedging",
    "InternalError",
    "InvalidArgumentError",
    "InvalidRowsError",
    "Metadata",
    "Model",
    "ModelStatus",
    "NotExplainedError",
    "NotFoundError",
    "OutOfRangeError",
    "Output",
    "OutputExplanation",
    "OutputKind",
    "PermissionDeniedError",
    "Prediction",
    "Predictions",
    "RecordLedger",
    "ResourceExhaustedError",
    "Retries",
    "RouteStatistics",
    "Routing",
    "Row",
    "RowContributions",
    "RowError",
    "Rows",
    "Schema",
    "ScorewireError",
    "ServerInfo",
    "Shadow",
    "Token",
    "TokenError",
    "TokenFile",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "VersionState",
    "VersionStatus",
    "Violation",
]
