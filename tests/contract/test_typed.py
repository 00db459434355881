"""Typed services for the versions of one major version, and their schemas in the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from scorewire import Client, OutputKind
from scorewire._cli.proto import proto
from scorewire_contract.bundle import read_bundle, write_bundle
from scorewire_contract.typed import TypedSchema, typed_schema
from scorewire_proto.inference import inference_pb2
from scorewire_training.export import export_onnx
from tests.conformance.engines import ENGINES
from tests.conformance.inference import INFER, infer_request, told
from tests.conformance.wire import Wire
from tests.onnx_models import write_echo, write_mixed, write_simple_identity, write_square
from tests.processes import ServerProcess, serving


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mixed` 1.0.0, and 1.1.0, which also takes `extra`; `echo`, which has a text output; and others."""
    folder = tmp_path_factory.mktemp("typed")
    output = folder / "models"
    export_onnx(write_mixed(folder / "a.onnx"), name="mixed", version="1.0.0", output_dir=output)
    later = write_mixed(folder / "b.onnx", extra=True)
    export_onnx(later, name="mixed", version="1.1.0", output_dir=output)
    export_onnx(write_simple_identity(folder / "c.onnx"), name="echo", version="1.0.0", output_dir=output)
    odd = write_echo(folder / "d.onnx", list(ODD_NAMES))
    export_onnx(odd, name="odd-names", version="1.0.0", output_dir=output)
    write_as_earlier_release(folder, output)
    export_onnx(write_echo(folder / "f.onnx", [*EARLIER_NAMES, "straße"]), **LATER, output_dir=output)
    export_onnx(write_square(folder / "e.onnx"), name="square", version="1.0.0", output_dir=output)
    return output


@pytest.fixture(scope="module", params=ENGINES)
def server(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("server"), models, "--engine", request.param) as running:
        yield running


def write_as_earlier_release(folder: Path, output: Path) -> None:
    """Write `from-before` 1.0.0 as releases did that stored no names of fields."""
    exported = export_onnx(
        write_echo(folder / "g.onnx", list(EARLIER_NAMES)),
        name="from-before",
        version="1.0.0",
        output_dir=folder / "exported",
    )
    manifest = exported.manifest
    for each in (*manifest.schema.features, *manifest.schema.outputs):
        each.field_name = ""
    files = {file.name: (exported.path / file.name).read_bytes() for file in manifest.files}
    write_bundle(output, manifest, files)
    assert manifest.format_version == 1


def schema_of(models: Path, version: str, model: str = "mixed") -> TypedSchema:
    manifest = read_bundle(models / model / version).manifest
    return typed_schema(model, version, manifest.schema, manifest.description)


class OldClient:
    """A client with the messages of one version's schema, as in generated code."""

    def __init__(self, server: ServerProcess, schema: TypedSchema) -> None:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(schema.descriptor())
        self._row, self._rows, self._prediction, self._predictions = (
            message_factory.GetMessageClass(
                pool.FindMessageTypeByName(f"{schema.package}.{schema.stem}{name}")
            )
            for name in ("Row", "Rows", "Prediction", "Predictions")
        )
        self._service = f"/{schema.service}"
        self._server = server

    def prediction(self, version: str, **fields: float) -> Any:
        metadata = (("scorewire-version", version),) if version else ()
        data = self._row(**fields).SerializeToString()
        with Wire(self._server.address).channel as channel:
            answer = channel.unary_unary(f"{self._service}/Predict")(data, metadata=metadata, timeout=60)
        return self._prediction.FromString(answer)

    def predict(self, version: str, **fields: float) -> tuple[str, list[float]]:
        prediction = self.prediction(version, **fields)
        return prediction.version, list(prediction.total)

    def predict_many(self, *rows: dict[str, float]) -> tuple[list[Any], list[Any]]:
        """The predictions of a batch and of a stream."""
        with Wire(self._server.address).channel as channel:
            batch = channel.unary_unary(f"{self._service}/PredictBatch")(
                self._rows(rows=rows).SerializeToString(), timeout=60
            )
            messages = (self._row(**row).SerializeToString() for row in rows)
            stream = channel.stream_stream(f"{self._service}/PredictStream")(messages, timeout=60)
            streamed = [self._prediction.FromString(answer) for answer in stream]
        return list(self._predictions.FromString(batch).predictions), streamed


# Field names by feature.
ODD_NAMES = {
    "1a": "f_1a",
    "class": "class",
    "a b": "a_b",
    "a_b": "a_b_4",
    "aB": "aB_5",
    "größe": "grosse",
    "年齢": "NianLing",
    "収入": "ShouRu",
    "error": "error",
    "__x__": "x",
}
# As earlier releases named them.
EARLIER_NAMES = {"año": "a_o", "größe": "gr_e"}
LATER = {"name": "from-before", "version": "1.1.0"}
ROW = {"f": 0.5, "d": 0.25, "b": 1, "i8": -3, "u8": 7, "i64": 10, "u64": 20}


def test_clients_of_1_0_0_keep_working_against_1_1_0(models: Path, server: ServerProcess) -> None:
    old, new = (OldClient(server, schema_of(models, version)) for version in ("1.0.0", "1.1.0"))
    total = sum(ROW.values())
    for version in ("1.0.0", "1.1.0"):
        assert old.predict(version, **ROW) == (version, [total, 2 * total])
        assert new.predict(version, **ROW) == (version, [total, 2 * total])
    assert new.predict("1.1.0", **ROW, extra=1) == ("1.1.0", [total + 1, 2 * total + 2])
    # Calls without a version get the highest release of the major version.
    assert old.predict("", **ROW) == ("1.1.0", [total, 2 * total])
    for predictions in old.predict_many(ROW, {**ROW, "f": 1.5}):
        assert [list(each.total) for each in predictions] == [
            [total, 2 * total],
            [total + 1, 2 * total + 2],
        ]
        assert {each.version for each in predictions} == {"1.1.0"}
    # 1.0.0 ignores fields that it does not know.
    assert new.predict("1.0.0", **ROW, extra=1) == ("1.0.0", [total, 2 * total])


def test_features_of_any_name_have_fields_of_their_own(models: Path, server: ServerProcess) -> None:
    schema = schema_of(models, "1.0.0", "odd-names")
    assert schema.service == "scorewire.models.oddNames.v1.OddNamesService"
    names = [field.name for field in schema.features]
    assert names == list(ODD_NAMES.values())
    prediction = OldClient(server, schema).prediction("", **{name: i for i, name in enumerate(names)})
    assert [getattr(prediction, f"out_{i}") for i in range(len(names))] == list(range(len(names)))


def test_clients_of_an_earlier_release_keep_working(models: Path, server: ServerProcess) -> None:
    """Generated code has the former name of the package, and the names of the fields of its version."""
    before, later = (schema_of(models, version, "from-before") for version in ("1.0.0", "1.1.0"))
    assert before.former.service == "scorewire.models.from_Hbefore.v1.FromBeforeService"
    assert before.service == later.service == "scorewire.models.fromBefore.v1.FromBeforeService"
    assert [field.name for field in before.features] == list(EARLIER_NAMES.values())
    assert [field.name for field in later.features] == [*EARLIER_NAMES.values(), "strasse"]
    for schema in (before.former, before, later.former, later):
        client = OldClient(server, schema)
        for version in ("1.0.0", "1.1.0"):
            prediction = client.prediction(version, a_o=1, gr_e=2)
            assert (prediction.version, prediction.out_0, prediction.out_1) == (version, 1, 2)
        many, streamed = client.predict_many({"a_o": 3, "gr_e": 4}, {"a_o": 5, "gr_e": 6})
        assert [each.out_1 for each in many] == [each.out_1 for each in streamed] == [4, 6]


def test_reflection_describes_a_former_name_and_lists_only_the_new_one(server: ServerProcess) -> None:
    new, former = "scorewire.models.fromBefore.v1", "scorewire.models.from_Hbefore.v1"
    with Wire(server.address).channel as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        questions = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            *(
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{package}.FromBeforeService")
                for package in (new, former)
            ),
        ]
        listed, *described = stub.ServerReflectionInfo(iter(questions), timeout=60)
        names = {each.name for each in listed.list_services_response.service}
        assert f"{new}.FromBeforeService" in names
        assert f"{former}.FromBeforeService" not in names
        for package, answer in zip((new, former), described, strict=True):
            (data,) = answer.file_descriptor_response.file_descriptor_proto
            assert descriptor_pb2.FileDescriptorProto.FromString(data).package == package
        health = health_pb2_grpc.HealthStub(channel)
        for package in (new, former):
            request = health_pb2.HealthCheckRequest(service=f"{package}.FromBeforeService")
            assert health.Check(request, timeout=60).status == health_pb2.HealthCheckResponse.SERVING


def test_a_whole_number_that_no_double_is_never_goes_out_rounded(models: Path, server: ServerProcess) -> None:
    client = OldClient(server, schema_of(models, "1.0.0", "square"))
    assert client.prediction("", a=-(2**26)).y == 2**52
    with pytest.raises(grpc.RpcError) as caught:
        client.prediction("", a=2**27)
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    wire = Wire(server.address)
    with wire.channel:
        for values, taken in (([3, 2**26], True), ([3, 2**27], False)):
            request = infer_request("square", {"a": ("INT64", [2, 1], values)}).SerializeToString()
            if taken:
                answer = inference_pb2.ModelInferResponse.FromString(wire.call(INFER, request))
                assert told(answer)["y"] == [9, 2**52]
            else:
                assert wire.failure(INFER, request).code == grpc.StatusCode.INTERNAL


def test_the_command_prints_the_schema_of_the_bundle(models: Path, server: ServerProcess) -> None:
    for flags, version in (((), "1.1.0"), (("--version", "1.0.0"), "1.0.0")):
        result = CliRunner().invoke(proto, ["mixed", *flags, "--address", server.address])
        assert result.exit_code == 0, result.output
        assert result.output == (models / "mixed" / version / "schema.proto").read_text(encoding="utf-8")
    result = CliRunner().invoke(proto, ["nothing", "--address", server.address])
    assert result.exit_code == 1
    assert "no model" in result.output


def test_the_sdk_gives_texts(server: ServerProcess) -> None:
    with Client(server.address) as client:
        schema = client.model("echo").schema
        assert [output.kind for output in schema.outputs] == [OutputKind.TEXT]
        words = [f"w{i}" for i in range(16)]
        rows = [{feature.name: word for feature, word in zip(schema.features, words, strict=True)}] * 2
        predictions = client.predict("echo", rows)
        assert predictions.outputs["OUTPUT0"].tolist() == [words, words]
        assert predictions[1].outputs["OUTPUT0"].tolist() == words
        assert predictions[0].score != predictions[0].score  # NaN: there are no numbers
        assert predictions.columns()["OUTPUT0_3"] == ["w3", "w3"]
