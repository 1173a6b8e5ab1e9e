"""Finds the samples of a data set by the names of its folders and files; see docs/data.md.

`tree.py` lists the files, one module a layout turns them into samples, `inventory.py` accounts for
the files that no layout has used. The content of images and masks is validated in validation.py.
"""
