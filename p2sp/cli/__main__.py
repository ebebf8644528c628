"""`python -m p2sp.cli` is the `p2sp` command."""

from p2sp.cli.start import main

if __name__ == "__main__":
    main()
