"""ONNX files that another tool wrote, exported as bundles."""
