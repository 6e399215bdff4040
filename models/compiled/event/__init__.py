"""Compiled loops of the event-driven simulator."""
