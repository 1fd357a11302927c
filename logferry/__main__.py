"""`python -m logferry`: the command line."""

from __future__ import annotations

from .shipper.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
