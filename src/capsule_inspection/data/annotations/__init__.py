"""Reads the files of annotation tools, and draws their shapes as masks; see docs/data.md.

One module a format turns files into `shapes.AnnotatedImage`. `conversion.py` turns these into
labels and masks, and `formats.py` keeps the result in the cache folder.
"""
