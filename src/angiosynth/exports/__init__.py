"""A released set in the forms that other tools read, one module a format."""
