"""A project's folder: its paths, settings file, resume files, and the look ahead at memory."""
