"""The tasks, a folder each with the same files; `adapter.get_task` finds them by name.

The modules beside the folders hold the base classes of these files.
"""
