"""``python -m clouddirect``: the command line."""

from clouddirect.cli import main

if __name__ == "__main__":
    main()
