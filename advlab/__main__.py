"""``python -m advlab`` is the command ``advlab``."""

from advlab.cli import start

if __name__ == "__main__":
    start()
