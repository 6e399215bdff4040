"""Recorded spikes cut into bins, histories and windows."""
