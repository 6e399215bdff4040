"""``python -m organoid``: the command line."""

from organoid.cli import main

if __name__ == "__main__":
    main()
