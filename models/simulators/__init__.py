"""Free-running forms of networks: dense, stepwise and event-driven."""
