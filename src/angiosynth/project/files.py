"""The files around the code that make a project folder; setup.py puts them into the wheel, so nothing is imported here."""

FOLDER = "project_files"  # of the installed package
FILES = (
    *(".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "cli.py", "dvc.yaml", "sweeps/README", "sweeps/shown/README"),
    *(f"profiles/{name}.yaml" for name in ("demo", "full", "paper", "quick", "real")),
)
