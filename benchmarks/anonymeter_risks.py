"""Risks by Anonymeter, run by the Python of an environment that has it; `benchmarks/anonymeter_check.py` calls this file.

    python benchmarks/anonymeter_risks.py FOLDER

FOLDER holds training.csv, control.csv and a table of each audited set, of the same columns. Prints one JSON object: for each set and
attack the risk with its 95% interval, and the rates of success against training, control and by guessing.
"""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator, SinglingOutEvaluator

ATTACKS = 500
SEED = 1
SECRET = "components"  # guessed from all other columns
# The halves of a record that are to be linked.
HALVES = (["vessel_fraction", "components", "largest_component"], ["mean_intensity", "deviation", "mean_in_vessels"])


def risks(training: pd.DataFrame, control: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Attack -> risk, low, high, and rates of success: of the attack on training, on control, and of the baseline."""
    tables = {"ori": training, "syn": synthetic, "control": control, "n_attacks": ATTACKS}
    others = [name for name in training.columns if name != SECRET]
    attacks = {
        "singling out, one column": SinglingOutEvaluator(**tables, seed=SEED).evaluate(mode="univariate"),
        "singling out, three columns": SinglingOutEvaluator(**tables, n_cols=3, seed=SEED).evaluate(mode="multivariate"),
        "linkability": LinkabilityEvaluator(**tables, aux_cols=HALVES).evaluate(n_jobs=1),
        "inference": InferenceEvaluator(**tables, aux_cols=others, secret=SECRET).evaluate(n_jobs=1),
    }
    rows = {}
    for name, evaluator in attacks.items():
        risk, results = evaluator.risk(confidence_level=0.95), evaluator.results()
        rates = {side: getattr(results, f"{side}_rate").value for side in ("attack", "control", "baseline")}
        rows[name] = {"risk": risk.value, "low": risk.ci[0], "high": risk.ci[1], **rates}
    return rows


def main() -> None:
    folder = Path(sys.argv[1])
    logging.getLogger("anonymeter").setLevel(logging.ERROR)  # warns of fewer guesses than were asked for, as rates show
    tables = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}
    training, control = tables.pop("training"), tables.pop("control")
    results = {}
    for name, synthetic in tables.items():
        np.random.seed(SEED)  # linkability and inference draw from the global generator
        results[name] = risks(training, control, synthetic)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
