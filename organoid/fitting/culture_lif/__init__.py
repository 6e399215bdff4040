"""Fitting the culture LIF network: forced likelihood with recorded resets, then contrast in free windows."""
