"""How is `twistd` run by the same Python, wherever its script lies? `python -m p2sp.cli.twistd ...`."""

from twisted.scripts.twistd import run

if __name__ == "__main__":
    run()
