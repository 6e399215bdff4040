"""LIF cells with escape noise, depressing synapses, rising thresholds and a population current."""
