"""Run the command line with ``python -m tagstack``."""

from tagstack.cli import main

if __name__ == "__main__":
    main()
