"""Fixed texts of the report: titles of sections, glossary, text alternatives and captions of figures."""

from __future__ import annotations

# Section -> heading, in the order of the page.
TITLES = {
    "short": "In short",
    "data": "About these data",
    "results": "Results on test patients",
    "pairs": "Real and synthetic pairs",
    "patient": "One patient",
    "worth": "What a set is worth in patients",
    "transfer": "Transfer to other sites",
    "privacy": "Privacy audit",
    "curves": "How the generators trained",
    "progress": "The same random numbers as training went on",
    "sweeps": "Searched settings",
    "others": "More figures",
    "sets": "The synthetic sets",
    "settings": "Settings",
}

GLOSSARY = (
    ("patch, label", "A small square cut from one axial slice of a scan, and the same square in which each vessel pixel is marked."),
    ("generator", "A network that draws new patches together with their labels from random numbers."),
    ("U-net", "The network that marks vessels in a scan. Here it measures what a set of patches is worth for training."),
    (
        "training, validation and test patients",
        "Training patients' scans were learned from. Validation patients chose between settings and steps. Test patients were used for "
        "the scores alone.",
    ),
    ("DSC", "Dice coefficient: overlap of marked and true vessels, from 0 (none) to 1 (the same). More is better."),
    ("95HD, maximum, ASSD", "Distances between the surfaces of marked and true vessels, in millimetres. Less is better."),
    ("share of real", "The DSC divided by that of the U-net trained on real patches."),
    (
        "95% interval",
        "The range, in brackets, within which the mean stays in 95% of resamples of the patients (bootstrap). Other patients might "
        "give a mean anywhere in it.",
    ),
    ("seed", "The number that fixes a training's random choices. Trainings from several seeds show how much of a score is luck."),
    ("probe", "A small U-net trained in short on a generator's pairs, to see while the generator trains how good they are."),
    ("empty", "Predictions without a single vessel voxel, of all predictions."),
)

# Kossen et al. 2021, tables of the journal version.
PAPER = (
    ("real patches", "0.89", "26.57"),
    ("WGAN-GP-SN patches, the best of its three GANs", "0.85", "30.00"),
)

# Figure -> (text alternative, caption)
CAPTIONS = {
    "progress": (
        "Rows of patches made of the same latents at six steps of the training, each step twice as far as the one before.",
        "The generator chosen by validation: a column is one latent vector, a row one step of the training. What still changes in the "
        "last rows is what more steps would change.",
    ),
    "pairs": (
        "Rows of image patches, each beside the same patch with its vessel label outlined: one row real, one row for each generator.",
        "Real and synthetic pairs, not picked by hand. The outline lies just outside the label. The patient's front is up, the left "
        "side left.",
    ),
    "scores": (
        "Two dot plots, DSC and 95HD: one dot for each test patient, grouped by what the U-net was trained on, with means and intervals.",
        "Test patients one by one. The large mark is the mean, the bar its 95% bootstrap interval over patients. With several "
        "seeds of the U-net, a dot is a patient's mean over them and a dash beside the bar one seed's mean.",
    ),
    "patient": (
        "One patient from above, from the front and from the side: the scan's maximum intensity, and below it vessels "
        "found, missed and wrongly found.",
        "A test patient. Above, the greatest intensity along each line of sight; below, the colour of what most labelled or predicted "
        "voxels on that line are.",
    ),
    "transfer": (
        "Two plots against the number of training patients of another site, a line for each pre-training: DSC, with a heavy "
        "dashed line for none, and the gain over none.",
        "Transfer to other sites, with 95% bootstrap intervals over subsets and test patients. Points stand a little apart "
        "so that none hides another.",
    ),
    "worth": (
        "A rising line of DSC over the number of real training patients, crossed by a level line for each generator; "
        "where sets were joined with the patches of few patients, a further line for each.",
        "U-nets on the real patches of few training patients, of more and of all, with 95% bootstrap intervals over test patients and "
        "subsets. Where a generator's line meets the curve, its set trains as good a U-net as so many patients. Points beside the "
        "curve, where there are any, are U-nets on a set together with the patches of so many patients.",
    ),
    "leakage": (
        "A mark a generator, then one a checkpoint: across, the AUC of an attack on membership, upwards the use of what it draws.",
        "Use against leakage. Best is high up and at chance, an AUC of 0.5. The hollow mark is the control: the same attack made with "
        "other people's real patches, which shows what plain differences between the patients give. Right: the same attack on as many "
        "pairs of every generator that the probe saw, joined in the order of the training; the large mark was chosen. The probe's U-net "
        "is small and its patients are others, so its shares are not those on the left.",
    ),
    "curves": (
        "Two plots against generator steps: the critic's distance between real and synthetic, and the probe's DSC.",
        "Training. Each curve on the left is divided by its greatest value, as each critic has a scale of its own. "
        "The probe is a small U-net trained on what the generator draws and scored on validation patients; "
        "the generator it scores highest is kept.",
    ),
}

# Figure of a sweep -> (text alternative, caption)
SWEEP_CAPTIONS = {
    "front": (
        "DSC against 95HD of every trial, the Pareto front joined by a line.",
        "Every trial on validation patients. On the numbered front no trial is better in both scores; the ring is its knee.",
    ),
    "hypervolume": (
        "A line that rises in steps, trial by trial.",
        "The share of the box of possible scores that the front leaves behind. A long flat end says that more trials bring little.",
    ),
    "importances": (
        "Two bars for each searched value.",
        "How much each value decides about the best quarter of the trials (PED-ANOVA). With few trials this is rough.",
    ),
    "parallel": (
        "A line for each trial over upright axes, one for each value and both scores.",
        "Every trial as a line over its values and scores, those of the front in colour.",
    ),
}
