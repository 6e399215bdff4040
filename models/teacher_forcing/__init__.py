"""Potentials under recorded spikes, worked out in parallel over time."""
