"""The network in free run: comparison with the recording, criteria, and correction of its weights."""
