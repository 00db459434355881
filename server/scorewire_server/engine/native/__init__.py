"""The native engine: Rust, in the extension `scorewire_native`; here is the Python side of it."""
