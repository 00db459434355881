"""A run with --explain asks for contributions, and checks them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scorewire import Explain
from scorewire_contract.bundle import Bundle
from scorewire_loadtest import cli, saturation
from scorewire_loadtest.calls import PreparedCall, from_bundle
from scorewire_loadtest.explained import explained
from scorewire_proto.v1 import packed_pb2, prediction_pb2
from tests.scorewire_loadtest.fake_server import FakeServer

GENERATORS = ["native", "python"] if find_spec("scorewire_loadtest_native") else ["python"]
Spoil = Callable[[prediction_pb2.PredictResponse], None]


def made(bundle: Bundle, explain: Explain) -> tuple[PreparedCall, prediction_pb2.PredictResponse]:
    """A call with the rows of a bundle, one of which has an error, and the right answer."""
    calls = explained(from_bundle(bundle, rows_per_call=len(bundle.golden.rows.texts)), explain)
    response = FakeServer(bundle).score(prediction_pb2.PredictRequest.FromString(calls[0].request))
    assert response.errors
    return calls[0], response


def problem(call: PreparedCall, response: prediction_pb2.PredictResponse) -> str:
    packed = packed_pb2.PackedPredictResponse.FromString(response.SerializeToString())
    return call.expectation.problem(packed)


@pytest.mark.parametrize("explain", [Explain(), Explain(top_k=2), Explain(top_k=1, output="value")])
def test_the_calls_ask_for_contributions_and_right_ones_pass(sum_bundle: Bundle, explain: Explain) -> None:
    call, response = made(sum_bundle, explain)
    request = prediction_pb2.PredictRequest.FromString(call.request)
    assert (request.explain.top_k, request.explain.output) == (explain.top_k, explain.output)
    assert request.HasField("explain")
    assert request.rows.row_count == call.row_count == response.row_count
    # Twice: the second time, the bytes are known to be right.
    assert [problem(call, response) for _ in range(2)] == ["", ""]


def none(response: prediction_pb2.PredictResponse) -> None:
    response.ClearField("contributions")


def other_sum(response: prediction_pb2.PredictResponse) -> None:
    response.contributions.values[0] += 1e-3


def other_base(response: prediction_pb2.PredictResponse) -> None:
    response.contributions.base[0] = 0.4


def no_base(response: prediction_pb2.PredictResponse) -> None:
    del response.contributions.base[:]


def one_less(response: prediction_pb2.PredictResponse) -> None:
    response.contributions.values.pop()


def missing(response: prediction_pb2.PredictResponse) -> None:
    response.contributions.values[0] = math.nan


def other_score(response: prediction_pb2.PredictResponse) -> None:
    response.outputs[0].numbers[0] = 1e9


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (none, "no contributions"),
        (other_sum, "base and contributions are 0.001 off the margin"),
        (other_base, "base and contributions are 0.1 off the margin"),
        (no_base, "contributions of"),
        (one_less, "contributions of"),
        (missing, "a scored row has no contributions"),
        (other_score, "value[0] is 1000000000.0"),
    ],
)
def test_wrong_contributions_are_found_after_right_ones_too(
    sum_bundle: Bundle, spoil: Spoil, message: str
) -> None:
    call, response = made(sum_bundle, Explain())
    assert problem(call, response) == ""
    spoil(response)
    assert message in problem(call, response)


def test_places_must_be_those_of_columns(sum_bundle: Bundle) -> None:
    call, response = made(sum_bundle, Explain(top_k=2))
    response.contributions.places[0] = 2
    assert "places of" in problem(call, response)
    response.contributions.places.pop()
    assert "places of" in problem(call, response)


@pytest.fixture
def _spare_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may take the generator's core. Whether that is told is tested elsewhere."""
    monkeypatch.setattr(saturation, "reasons", lambda _: [])


def run(server: FakeServer, *options: str) -> Result:
    arguments = ["--bundle", str(server.bundle.path), "--address", server.address]
    return CliRunner().invoke(cli.load, [*arguments, "--duration", "0.5s", "--warmup", "0s", *options])


@pytest.mark.usefixtures("_spare_time")
@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("how", [["--explain"], ["--explain", "2", "--mode", "stream"]])
def test_a_run_asks_why_and_says_so(
    fake_server: FakeServer, tmp_path: Path, generator: str, how: list[str]
) -> None:
    asked = set()

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        asked.add(request.explain.top_k if request.HasField("explain") else None)
        return fake_server.score(request)

    fake_server.answer = answer
    result = run(fake_server, *how, "--generator", generator, "--json", str(tmp_path / "run.json"))
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (told["wrong"], told["failed"]) == (0, 0)
    assert told["answered"] > 0
    top_k = 2 if "2" in how else 0
    assert asked == {top_k}
    assert told["settings"]["rows"].endswith(
        ", explained by 2 columns" if top_k else ", explained by all columns"
    )
    assert "contributions" in told["settings"]["checked"]


@pytest.mark.usefixtures("_spare_time")
@pytest.mark.parametrize("generator", GENERATORS)
def test_wrong_contributions_fail_a_run(fake_server: FakeServer, generator: str) -> None:
    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        response = fake_server.score(request)
        other_base(response)
        return response

    fake_server.answer = answer
    result = run(fake_server, "--explain", "--generator", generator)
    assert result.exit_code == 1
    assert "base and contributions are" in result.output


@pytest.mark.parametrize("wrong", [["--explain", "0"], ["--explain", "x"], ["--explain-output", "value"]])
def test_odd_options_are_refused(fake_server: FakeServer, wrong: list[str]) -> None:
    result = run(fake_server, *wrong)
    assert (result.exit_code, fake_server.requests) == (2, [])
    assert "--explain" in result.output
