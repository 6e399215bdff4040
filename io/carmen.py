"""CARMEN / sjemea HDF5: spike trains of many published cultures and retinas.

Layout (Eglen et al. 2014, doi:10.1186/2047-217X-3-3): ``/spikes`` f8 s, unit after unit; ``/sCount``
spikes per unit; ``/epos`` (2, N) um; optional ``/names``, ``/array``, ``/recordingtime``, ``/meta``.
"""
