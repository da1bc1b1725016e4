"""One module per stage of dvc.yaml. Each stage is a function from settings and a workspace to files.

The command line, DVC and the trials of a sweep call the same functions.
"""
