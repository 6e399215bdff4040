"""A session run again from its journal, and the first place where it differs."""
