"""Configuration to objects, then fit, evaluate, record: where the rooms are put together."""
