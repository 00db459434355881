"""Offline training: data, features, fitted pipelines and verified ONNX bundles."""
