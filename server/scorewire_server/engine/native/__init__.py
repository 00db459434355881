"""The Python side of the native engine, whose other side is the Rust extension `scorewire_native`."""
