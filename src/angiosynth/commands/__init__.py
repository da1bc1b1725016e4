"""Define the commands of the command line, one module for each group, and their shared options.

Typer derives a command's options from its parameters, so commands such as `import` have more parameters than other functions may have.
"""
