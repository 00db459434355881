mod blocks;
mod contributions;
mod hostile;
mod joining;
mod operators;
mod random;
mod reading;
mod trees;
