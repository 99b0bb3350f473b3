"""`python -m asyncsync` is the command `asyncsync`."""

from __future__ import annotations

from asyncsync.cli import main

if __name__ == "__main__":
    main()
