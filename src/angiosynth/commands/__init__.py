"""The command line's larger groups of commands, and what its commands share."""
