"""`python -m reasoningrec`: the command line."""

from __future__ import annotations

from reasoningrec.cli import main

if __name__ == "__main__":
    main()
