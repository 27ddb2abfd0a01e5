"""Between workers: packets, signals and calls over the bus."""
