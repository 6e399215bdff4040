"""Compiled loops of the models. Private: only modules of `organoid.models` import from here."""
