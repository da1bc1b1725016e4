"""One function per stage of dvc.yaml: settings and a workspace in, files out.

The command line, DVC and a sweep's trial call the same ones.
"""
