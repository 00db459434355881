"""Trains a model, exports it, serves it, scores rows and explains a score: the whole path in one file.

    python examples/churn.py

The bundle stays in `models/churn`, and `scorewire serve --models models` serves it for
the other examples. The data are made up: who leaves depends on age, country and plan.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

from scorewire import Client
from scorewire_training import export_bundle

COLUMNS = ["age", "country", "plan"]


def customers(rows: int, seed: int = 0) -> pd.DataFrame:
    """Customers with a `target`: 1 for those who left. Some ages are missing."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows).astype(float),
            "country": rng.choice(["PE", "DE", "US"], rows),
            "plan": rng.choice(["free", "basic", "pro"], rows),
        }
    )
    chance = 0.2 + 0.3 * (frame["plan"] == "free") + 0.2 * (frame["age"] < 30)
    frame["target"] = (rng.random(rows) < chance).astype(int)
    frame.loc[rng.random(rows) < 0.1, "age"] = np.nan
    return frame


def fit(train: pd.DataFrame) -> Pipeline:
    """A pipeline of scikit-learn that takes numbers and texts, and ends in XGBoost."""
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    prepare = make_column_transformer((encode, ["country", "plan"]), remainder="passthrough")
    return make_pipeline(prepare, XGBClassifier(n_estimators=50, max_depth=3)).fit(
        train[COLUMNS], train["target"]
    )


@contextmanager
def serving(models: Path) -> Iterator[str]:
    """Run a server on a free port; the block gets its address."""
    command = [str(Path(sys.executable).with_name("scorewire")), "serve", "--models", str(models)]
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "address"
        command += ["--listen", "127.0.0.1:0", "--port-file", str(port_file), "--log-level", "warning"]
        with subprocess.Popen(command) as server:
            try:
                while not port_file.exists():  # it is written when the bundles are loaded
                    if server.poll() is not None:
                        raise SystemExit("the server did not start")
                    time.sleep(0.05)
                yield port_file.read_text().split()[0]
            finally:
                server.terminate()


def main() -> None:
    """Run all steps."""
    train, test = customers(2000), customers(5, seed=1)[COLUMNS]
    model = fit(train)
    models = Path("models")
    if not (models / "churn" / "1.0.0").exists():  # a bundle never changes
        export_bundle(model, sample=train[COLUMNS], name="churn", version="1.0.0", output_dir=models)
    with serving(models) as address, Client(address) as client:
        one = client.predict("churn", {"age": 41, "country": "PE", "plan": "pro"}, explain=True)
        print(f"one customer leaves with probability {one.score:.4f}, says version {one.version}, because of")
        print(one.contributions)
        served = client.predict("churn", test).scores
    fitted = model.predict_proba(test)[:, 1]
    for row, a, b in zip(test.itertuples(index=False), fitted, served, strict=True):
        print(f"{row.age:5} {row.country} {row.plan:6} fitted {a:.6f}  served {b:.6f}")
    np.testing.assert_allclose(served, fitted, rtol=1e-5)


if __name__ == "__main__":
    main()
