"""Comparison with other libraries: the same work on the same images, in alternation."""
