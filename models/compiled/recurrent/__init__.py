"""Compiled forward and backward passes of recurrent networks."""
