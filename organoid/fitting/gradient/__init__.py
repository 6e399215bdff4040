"""Training by surrogate gradients: steps, scores and results."""
