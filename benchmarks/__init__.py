"""Benchmarks of speed and memory; `make bench`, see README.md in this folder."""
