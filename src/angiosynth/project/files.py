"""Files besides the code that a project folder contains. setup.py reads this module to build the wheel, so it must not import anything."""

FOLDER = "project_files"  # in the installed package
FILES = (
    *(".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "cli.py", "dvc.yaml", "sweeps/README", "sweeps/shown/README"),
    *(f"profiles/{name}.yaml" for name in ("demo", "full", "paper", "quick", "real")),
)
