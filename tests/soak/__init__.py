"""The soak: PYTHONPATH=tests python -m soak --minutes 60. What it is stands at the top of `__main__`."""
