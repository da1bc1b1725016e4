"""The commands of the command line, a module a group, and the options that they share.

A command has a parameter for each of its options, so that `import` has more than functions elsewhere may have.
"""
