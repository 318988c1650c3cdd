"""`python -m pymigrate` is the `pymigrate` command."""

from pymigrate.cli import main

if __name__ == "__main__":
    main()
