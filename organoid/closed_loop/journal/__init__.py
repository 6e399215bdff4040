"""The journal of a session: what is written while it runs, and how it is read."""
