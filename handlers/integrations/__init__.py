"""Other loggers and frameworks. Each module needs its library; none is imported before it is used."""
