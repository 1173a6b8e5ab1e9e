"""The commands: they build objects from a configuration, run them, and record what happens."""
