"""What is added to the potential of the spike-response network: each term is one file, listed in `terms.registry`."""
