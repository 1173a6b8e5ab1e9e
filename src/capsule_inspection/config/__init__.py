"""Configuration: schema, checks, Hydra integration and sweeps; never imports torch."""
