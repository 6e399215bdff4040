"""Cultures for users without a recording."""
