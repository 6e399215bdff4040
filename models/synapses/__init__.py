"""Synapses between neurons: kinetics, short-term depression, connectivity, plasticity."""
