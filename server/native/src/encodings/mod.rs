pub mod elements;
pub mod positional;
pub mod tensors;
pub mod typed;
