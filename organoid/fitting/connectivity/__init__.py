"""Which units drive which: inference of connections with an empirical null."""
