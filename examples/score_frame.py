"""Scores a pandas data frame, and puts the scores next to its rows.

    python examples/score_frame.py [HOST:PORT]

The server needs the model of `churn.py`. `scorewire predict` does the same for files.
"""

import sys

import pandas as pd

from scorewire import Client


def main(address: str) -> None:
    """Print the customers with their scores."""
    frame = pd.DataFrame(
        {
            "customer": ["c-1", "c-2", "c-3", "c-4"],
            "age": [41, None, 58, 23],  # the model was trained with missing ages
            "country": ["PE", "DE", "US", "Atlantis"],  # the model handles unknown categories
            "plan": ["pro", "free", "basic", "free"],
        }
    )
    with Client(address) as client:
        schema = client.model("churn").schema
        features = [feature.name for feature in schema.features]
        predictions = client.predict("churn", frame[features])
    scored = frame.join(predictions.to_pandas())
    print(scored[["customer", "score", "label", "error"]].to_string(index=False))
    for error in predictions.errors:  # a row that cannot be scored has an error, and the others have scores
        print(f"{frame['customer'][error.row]} has no score: {error.message}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8500")
