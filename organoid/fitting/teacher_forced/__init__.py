"""Stage 1: the convex fit on recorded histories, its features, priors and choices."""
