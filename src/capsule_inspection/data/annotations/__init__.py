"""Reads the files of annotation tools, and draws their shapes as masks; see docs/data.md.

One module a format turns files into `shapes.AnnotatedImage`; `classes.py` and `painting.py` turn
them into labels and masks, `formats.py` keeps these in the cache folder.
"""
