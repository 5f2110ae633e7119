"""Bad weather on purpose: what goes wrong, for how long, and how it looks on the wire."""
