"""Compiled loops of the culture LIF network."""
