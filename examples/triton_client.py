"""Scores rows with tritonclient, which knows nothing of Scorewire.

    pip install 'tritonclient[grpc]'
    python examples/triton_client.py [HOST:PORT]

The server needs the model of `churn.py`. A model with texts takes a tensor for each feature.
"""

import sys

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput


def tensor(name: str, values: list[object], datatype: str) -> InferInput:
    """A feature of all rows as a tensor of the shape [rows, 1]."""
    array = np.array(values, dtype=np.object_ if datatype == "BYTES" else np.float64).reshape(-1, 1)
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def main(address: str) -> None:
    """Print the probabilities of two customers."""
    client = InferenceServerClient(address)
    print("features:", [each.name for each in client.get_model_metadata("churn").inputs])
    inputs = [
        tensor("age", [41, 35], "FP64"),
        tensor("country", ["PE", "DE"], "BYTES"),
        tensor("plan", ["pro", "free"], "BYTES"),
    ]
    print(client.infer("churn", inputs).as_numpy("probabilities"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8500")
