"""Project folder: paths, settings file, resume files, estimates of memory and time."""
