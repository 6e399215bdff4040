"""Compiled loops of the spike-response network."""
