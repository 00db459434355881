"""The proof that a bundle scores as the fitted model does, on rows made to tell the two apart."""
