"""Writes the test vectors of the spool."""

from __future__ import annotations

from tests.records.vectors.files import FOLDER, vector_files

for name, data in vector_files().items():
    (FOLDER / name).write_bytes(data)
