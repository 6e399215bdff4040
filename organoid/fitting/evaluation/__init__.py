"""How well a fit predicts: goodness of fit on held-out time."""
