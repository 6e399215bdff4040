"""Ways to fit a recording, one file each."""
