import sys
from pathlib import Path

# The code beside this file, not what is installed: `dvc exp run --queue` runs a copy of the checkout, of the day it was queued.
ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))

if __name__ == "__main__":  # worker processes import this file again
    from angiosynth.runtime.handover import hand_over

    hand_over(ROOT)
    from angiosynth.cli import app
    from angiosynth.runtime.stop import end_with

    end_with(app)
