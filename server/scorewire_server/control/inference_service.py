"""inference.GRPCInferenceService without its predictions: metadata, statistics, load and unload.

Triton's own clients look for a few of Triton's phrases in error messages, so those
phrases are kept.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf import json_format

from scorewire_proto.inference import inference_pb2 as pb
from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.catalog import Catalog
from scorewire_server.control.methods import unary
from scorewire_server.engine.encodings.methods import INFERENCE
from scorewire_server.engine.encodings.tensor_elements import BYTES
from scorewire_server.engine.port import ControlMethod
from scorewire_server.engine.snapshot import LoadedVersion, VersionRecord
from scorewire_server.engine.statistics import Histogram, Statistics
from scorewire_server.errors import (
    BundleRefusedError,
    CallError,
    InvalidRequestError,
    ModelNotFoundError,
    VersionInUseError,
    Violation,
    clip,
)

# Triton's clients refuse to work with a server of another name.
SERVER_NAME = "triton"
PLATFORM, BACKEND = "onnx_onnxv1", "onnxruntime"
EXTENSIONS = (
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
_STATES = {
    models_pb2.VERSION_STATE_LOADING: "LOADING",
    models_pb2.VERSION_STATE_SERVING: "READY",
    models_pb2.VERSION_STATE_RETIRING: "UNLOADING",
}
_VERSION_PARAMETER, _CONFIG_PARAMETER, _FILE_PREFIX = "version", "config", "file:"
_ROWS_FIELD = "max_batch_size"
_MOST_ROWS = 2**31 - 1


class InferenceService:
    """Describes models, and loads and unloads them.

    Args:
        catalog: all versions.
        statistics: gives the engine's statistics.
        serving: tells whether the server as a whole serves.
        server_version: the version of this server.
        max_rows: the most rows of one call.
    """

    def __init__(
        self,
        catalog: Catalog,
        statistics: Callable[[], Statistics],
        serving: Callable[[], bool],
        *,
        server_version: str,
        max_rows: int,
    ) -> None:
        self._catalog = catalog
        self._statistics = statistics
        self._serving = serving
        self._server_version = server_version
        self._max_rows = max_rows

    def methods(self) -> list[ControlMethod]:
        """All methods of the service except ModelInfer and ModelStreamInfer."""
        return [
            unary(INFERENCE, "ServerLive", pb.ServerLiveRequest, self._server_live),
            unary(INFERENCE, "ServerReady", pb.ServerReadyRequest, self._server_ready),
            unary(INFERENCE, "ModelReady", pb.ModelReadyRequest, self._model_ready),
            unary(INFERENCE, "ServerMetadata", pb.ServerMetadataRequest, self._server_metadata),
            unary(INFERENCE, "ModelMetadata", pb.ModelMetadataRequest, self._model_metadata),
            unary(INFERENCE, "ModelConfig", pb.ModelConfigRequest, self._model_config),
            unary(INFERENCE, "ModelStatistics", pb.ModelStatisticsRequest, self._model_statistics),
            unary(INFERENCE, "RepositoryIndex", pb.RepositoryIndexRequest, self._repository_index),
            unary(INFERENCE, "RepositoryModelLoad", pb.RepositoryModelLoadRequest, self._load),
            unary(INFERENCE, "RepositoryModelUnload", pb.RepositoryModelUnloadRequest, self._unload),
        ]

    async def _server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._serving())

    async def _model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        try:
            self._catalog.snapshot.route(request.name, request.version)
        except CallError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def _server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name=SERVER_NAME, version=f"scorewire-{self._server_version}", extensions=EXTENSIONS
        )

    async def _model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        version = self._version(request.name, request.version)
        metadata = pb.ModelMetadataResponse(name=version.model, platform=PLATFORM)
        record = self._catalog.snapshot.models[version.model]
        metadata.versions.extend(each.version for each in record.versions if each.loaded is not None)
        for tensors, described in (
            (version.tensors.inputs, metadata.inputs),
            (version.tensors.outputs, metadata.outputs),
        ):
            for tensor in tensors:
                described.add(name=tensor.name, datatype=tensor.datatype, shape=(-1, *tensor.dims))
        return metadata

    async def _model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        version = self._version(request.name, request.version)
        config = pb.ModelConfig(
            name=version.model,
            platform=PLATFORM,
            backend=BACKEND,
            max_batch_size=min(version.max_rows or self._max_rows, _MOST_ROWS),
            model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
        )
        for tensor in version.tensors.inputs:
            config.input.add(
                name=tensor.name,
                data_type=_data_type(tensor.datatype),
                dims=tensor.dims,
                optional=tensor.optional,
            )
        for tensor in version.tensors.outputs:
            config.output.add(name=tensor.name, data_type=_data_type(tensor.datatype), dims=tensor.dims)
        return pb.ModelConfigResponse(config=config)

    async def _model_statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        response = pb.ModelStatisticsResponse()
        models = self._catalog.snapshot.models
        if request.name:
            versions = models[self._version(request.name, request.version).model].versions
        else:
            versions = tuple(each for model in models.values() for each in model.versions)
        statistics = self._statistics()
        for record in versions:
            if record.loaded is not None and request.version in ("", record.version):
                _fill_statistics(response.model_stats.add(), record, statistics)
        return response

    async def _repository_index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        for model in self._catalog.snapshot.models.values():
            for record in model.versions:
                state = _STATES.get(record.state, "UNAVAILABLE")
                if state == "READY" or not request.ready:
                    reason = record.reason or ("" if record.state in _STATES else "unloaded")
                    response.models.add(name=record.model, version=record.version, state=state, reason=reason)
        return response

    async def _load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Load the version that a parameter names, or the highest release in the repository.

        A parameter `config` may change `max_batch_size` and nothing else of the bundle.
        """
        model = request.model_name or request.repository_name
        failed = f"failed to load '{clip(model)}'"
        parameters = {name: value.string_param for name, value in request.parameters.items()}
        version = parameters.pop(_VERSION_PARAMETER, "")
        max_rows = self._read_config(parameters.pop(_CONFIG_PARAMETER, "{}"), failed)
        for name in parameters:
            what = "Invalid file path" if name.startswith(_FILE_PREFIX) else "unknown parameter"
            raise _refused(name, f"{failed}: {what} {clip(name)!r}; a bundle is loaded as it is")
        if not version:
            await self._catalog.refresh()
            record = self._catalog.snapshot.models.get(model)
            if record is None:
                raise ModelNotFoundError(f"{failed}, there is no such model in the repository", model=model)
            version = record.default_version or _highest(record.versions)
        try:
            await self._catalog.load_version(model, version, max_rows)
        except BundleRefusedError as error:
            raise BundleRefusedError(f"{failed}: {error}", model=model, version=version) from None
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Unload the version that a parameter names, or all versions that serve."""
        model = request.model_name or request.repository_name
        record = self._catalog.snapshot.models.get(model)
        if record is None:
            raise _unknown(model)
        wanted = (
            request.parameters[_VERSION_PARAMETER].string_param
            if (_VERSION_PARAMETER in request.parameters)
            else ""
        )
        serving = [each.version for each in record.versions if each.loaded is not None]
        if not wanted and (named := record.routing.versions().intersection(serving)):
            # Checked before the first unload, since a call that fails must change nothing.
            names = ", ".join(sorted(named))
            in_use = f"an alias, the split or the shadow of model {clip(model)!r} names {names}"
            raise VersionInUseError(f"{in_use}; change that first", model=model)
        for version in [wanted] if wanted else serving:
            await self._catalog.unload_version(model, version)
        return pb.RepositoryModelUnloadResponse()

    def _read_config(self, text: str, failed: str) -> int | None:
        """The most rows of a call by a configuration in JSON; None if it does not say."""
        config = pb.ModelConfig()
        try:
            json_format.Parse(text, config)
        except (json_format.ParseError, RecursionError) as error:
            raise _refused(
                _CONFIG_PARAMETER, f"{failed}: the config is not valid: {clip(str(error))}"
            ) from None
        for field, _ in config.ListFields():
            if field.name != _ROWS_FIELD:
                raise _refused(
                    _CONFIG_PARAMETER, f"{failed}: a config may change {_ROWS_FIELD}, and not {field.name}"
                )
        if not 0 <= config.max_batch_size <= self._max_rows:
            raise _refused(_CONFIG_PARAMETER, f"{failed}: {_ROWS_FIELD} is 1 to {self._max_rows} here")
        return config.max_batch_size or None

    def _version(self, model: str, version: str) -> LoadedVersion:
        try:
            return self._catalog.snapshot.route(model, version).heaviest
        except ModelNotFoundError:
            raise _unknown(model) from None


def _refused(parameter: str, description: str) -> InvalidRequestError:
    path = f"parameters[{clip(parameter)}]"
    return InvalidRequestError(description, violations=[Violation(path, description)])


def _unknown(model: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"Request for unknown model: '{clip(model)}' is not found", model=model)


def _highest(versions: tuple[VersionRecord, ...]) -> str:
    """The highest release, or the highest pre-release if there is no release."""
    names = [record.version for record in versions]
    return next((name for name in names if "-" not in name.partition("+")[0]), names[0])


def _data_type(datatype: str) -> pb.DataType.ValueType:
    return pb.DataType.Value("TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}")


def _fill_statistics(message: pb.ModelStatistics, record: VersionRecord, statistics: Statistics) -> None:
    message.name, message.version = record.model, record.version
    inference = message.inference_stats
    inference.fail.count = sum(
        sum(each.failed.values())
        for key, each in list(statistics.routes.items())
        if (key.model, key.version, key.shadow) == (record.model, record.version, False)
    )
    counted = statistics.versions.get((record.model, record.version))
    if counted is None:
        return
    message.inference_count = counted.rows
    steps: list[tuple[pb.StatisticDuration, Histogram]] = [
        (inference.compute_input, counted.decode),
        (inference.compute_infer, counted.run),
        (inference.compute_output, counted.encode),
    ]
    for step, histogram in steps:
        step.count, step.ns = sum(histogram.counts), histogram.sum_ns
    message.execution_count = inference.success.count = inference.compute_infer.count
    inference.success.ns = sum(histogram.sum_ns for _, histogram in steps)
