"""Runs the whole path once: train, export, verify, serve, score, compare, explain, stop.

Run as `python -m tests.demo`. Both models are trained on data that needs no
download. Their bundles are written to build/demo/models, which is emptied first.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from scorewire import Client, NotExplainedError
from scorewire_training.game_revenue import GameRevenueConfig, train_game_revenue
from scorewire_training.output.publishing import REPORT, TrainedModel
from scorewire_training.report.importance import explain_row
from scorewire_training.report.typical_row import typical_row
from scorewire_training.repurchase import RepurchaseConfig, train_repurchase
from tests.processes import COMMAND, serving

FOLDER = Path(__file__).resolve().parents[1] / "build" / "demo"
BATCH_ROWS = 500
SHOWN_ROWS = 6
# The smallest number, to be fast.
TRIALS = 1


def main() -> None:
    """Run all steps; the exit code is 1 if a served score is not that of the fitted model."""
    begin = time.monotonic()
    console = Console()
    shutil.rmtree(FOLDER, ignore_errors=True)
    models = FOLDER / "models"

    def progress(step: str) -> None:
        console.print(f"  {step}", markup=False)

    console.rule("train, export and prove")
    trained: dict[str, TrainedModel] = {}
    console.print("[bold]repurchase[/bold]: who buys again?")
    trained["repurchase"] = train_repurchase(
        RepurchaseConfig(output_dir=models, trials=TRIALS), progress=progress
    )
    console.print("[bold]game-revenue[/bold]: what does a new user bring in the first week?")
    trained["game-revenue"] = train_game_revenue(
        GameRevenueConfig(output_dir=models, trials=TRIALS), progress=progress
    )

    for model in trained.values():
        console.print(f"look at {model.export.path / REPORT}", soft_wrap=True)

    console.rule("verify")
    bundles = [model.export.path for model in trained.values()]
    subprocess.run([COMMAND, "verify", *bundles], check=True)

    console.rule("serve and score")
    wrong = 0
    with serving(FOLDER, models) as server, Client(server.address) as client:
        console.print(f"serving at {server.address}; answers 'healthy': {client.health()}")
        for name, model in trained.items():
            wrong += _compare(console, client, name, model)
            _explain(console, client, name, model)
    console.print(f"the server drained and stopped; {time.monotonic() - begin:.0f} s in all")
    if wrong:
        raise SystemExit(f"{wrong} served scores are not those of the fitted models")


def _compare(console: Console, client: Client, name: str, model: TrainedModel) -> int:
    """Score the test rows, unary and streamed; returns how many differ from the fitted pipeline."""
    rows = model.result.test
    fitted = model.result.predictions
    streamed = np.concatenate([batch.scores for batch in client.predict_stream(name, _batches(rows))])
    # Rows from the lowest score to the highest.
    shown = np.argsort(fitted)[np.linspace(0, len(rows) - 1, SHOWN_ROWS).astype(int)]
    unary = np.array([client.predict(name, row).score for row in rows.iloc[shown].to_dict("records")])
    table = Table(title=f"{name} {model.export.manifest.version}: {SHOWN_ROWS} of {len(rows)} held-out rows")
    for header in ("row", "fitted pipeline", "served, unary", "served, streamed"):
        table.add_column(header, justify="right")
    for row, one in zip(shown, unary, strict=True):
        table.add_row(str(row), f"{fitted[row]:.6g}", f"{one:.6g}", f"{streamed[row]:.6g}")
    console.print(table)
    parity = model.export.parity
    limit = parity.absolute_tolerance + parity.relative_tolerance * np.abs(fitted)
    wrong = int((np.abs(streamed - fitted) > limit).sum())
    wrong += int((np.abs(unary - fitted[shown]) > limit[shown]).sum())
    console.print(f"largest difference over {len(rows)} rows: {np.abs(streamed - fitted).max():.1e}\n")
    return wrong


def _explain(console: Console, client: Client, name: str, model: TrainedModel) -> None:
    """Show why the prediction for a row that is typical of high ones is what it is."""
    row = typical_row(model.result)
    console.print("[bold]why?[/bold] A row that is typical of high predictions:")
    try:
        prediction = client.predict(name, row.to_dict("records")[0], explain=True)
    except NotExplainedError as error:
        console.print(f"{error}\nThe report has SHAP values of the row against training rows:", markup=False)
        base, contributions = explain_row(model.result, row, seed=0)
        # Of an amount, logarithms to base 10.
        console.print(f"  base {model.result.unit}{10**base:.3g}", markup=False)
        strongest = sorted(contributions, key=lambda column: -abs(contributions[column]))
        for column in strongest[:SHOWN_ROWS]:
            value, factor = row[column].iloc[0], 10 ** contributions[column]
            console.print(f"  {column} = {value}: times {factor:.3g}", markup=False)
        console.print()
        return
    console.print(f"score {prediction.score:.3g}")
    console.print(f"{prediction.contributions}\n", markup=False, highlight=False)


def _batches(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(rows), BATCH_ROWS):
        yield rows.iloc[start : start + BATCH_ROWS]


if __name__ == "__main__":
    main()
