"""Sources: whatever is read beside the application's own log, one module each."""

__all__: list[str] = []
