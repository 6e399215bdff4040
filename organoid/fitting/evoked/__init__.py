"""Responses to pulses, calibrated in free run."""
