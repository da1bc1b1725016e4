import sys
from pathlib import Path

# The code beside this file, not what is installed: `dvc exp run --queue` runs a copy of the checkout, of the day it was queued.
sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from angiosynth.cli import app

if __name__ == "__main__":  # worker processes import this file again
    app()
