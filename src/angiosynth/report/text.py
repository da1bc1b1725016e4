"""The page's fixed words and its style."""

from __future__ import annotations

from string import Template

# Kossen et al. 2021, tables of the journal version.
PAPER = [
    ["real patches", "0.89", "26.57"],
    ["WGAN-GP-SN patches, the best of its three GANs", "0.85", "30.00"],
]

# name -> (text in place of the picture, caption)
CAPTIONS = {
    "progress": (
        "Rows of patches made of the same latents at six steps of the training, each step twice as far as the one before.",
        "The generator chosen by validation: a column is one latent, a row one step. What comes late is what more steps would change.",
    ),
    "pairs": (
        "Rows of image patches, each beside the same patch with its vessel label outlined: one row real, one row for each generator.",
        (
            "Real and synthetic pairs, not picked by hand. The outline lies just outside the label. The patient's front is "
            "up, the left side left."
        ),
    ),
    "scores": (
        "Two dot plots, DSC and 95HD: one dot for each test patient, grouped by what the U-net was trained on, with means and intervals.",
        (
            "Test patients one by one. The large mark is the mean, the bar its 95% bootstrap interval over patients. With several "
            "seeds of the U-net, a dot is a patient's mean over them and a dash beside the bar one seed's mean."
        ),
    ),
    "patient": (
        (
            "One patient from above, from the front and from the side: the scan's maximum intensity, and below it vessels "
            "found, missed and wrongly found."
        ),
        (
            "A test patient. Above, the greatest intensity along each line of sight; below, what most labelled or predicted "
            "voxels on that line are."
        ),
    ),
    "transfer": (
        (
            "Two plots against the number of training patients of another site, a line for each pre-training: DSC, with a heavy "
            "dashed line for none, and the gain over none."
        ),
        (
            "Transfer to other sites, with 95% bootstrap intervals over subsets and test patients. Points stand a little apart "
            "so that none hides another."
        ),
    ),
    "leakage": (
        "A mark a generator, then one a checkpoint: across, the AUC of an attack on membership, upwards the use of what it draws.",
        (
            "Use against leakage. Best is high up and at chance; the hollow mark is the same attack made with other people's real "
            "patches, which is what plain differences between the patients give. Right: the same attack on as many pairs of every "
            "generator that the probe saw, joined in the order of the training; the large mark was chosen. The probe's U-net is small "
            "and its patients are others, so its shares are not those on the left."
        ),
    ),
    "curves": (
        "Two plots against generator steps: the critic's distance between real and synthetic, and the probe's DSC.",
        (
            "Training. Each curve on the left is divided by its greatest value, as each critic has a scale of its own. "
            "The probe is a small U-net trained on what the generator draws and scored on validation patients; "
            "the generator it scores highest is kept."
        ),
    ),
}

STYLESHEET = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --quiet: #5a5a5a; --line: #d8d8d8; --band: #f5f5f3; --mark: #0a6ebd; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --paper: #161618; --quiet: #a8a8a8; --line: #3c3c40; --band: #202024; --mark: #6cb8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.2rem 4rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p, li { max-width: 46rem; }
li { margin: .25rem 0; }
.lead { font-size: 1.1rem; color: var(--quiet); }
.caution { border-left: 4px solid var(--mark); background: var(--band); padding: .6rem 1rem; max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); padding-bottom: .4rem; }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th[scope="row"], thead th:first-child { text-align: left; font-weight: 600; }
td { white-space: nowrap; }
thead th { vertical-align: bottom; }
tbody tr:nth-child(odd) { background: var(--band); }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { color: var(--quiet); font-size: .9rem; max-width: 46rem; }
pre { background: var(--band); padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
@media print { :root { --ink: #000; --paper: #fff; --quiet: #333; --line: #bbb; --band: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  figure, table, li { break-inside: avoid; } h2 { break-after: avoid; } pre { white-space: pre-wrap; } .wide { overflow: visible; } }
"""

TEMPLATE = Template("""<!DOCTYPE html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>angiosynth: real against synthetic patches for vessel segmentation</title>
<style>$style</style>
</head>
<body>
<header>
<h1>Real against synthetic patches for brain-vessel segmentation</h1>
<p class="lead">Generators learned pairs of a brain-vessel patch and its label from the scans of training patients. A U-net was
then trained on the pairs of each, and one on real pairs. All were tested on whole scans of patients that nothing had seen.</p>
</header>
<main>
<section>
<h2>In short</h2>
$verdict
<p class="caution">Nothing here proves that synthetic patches are anonymous. A generator can repeat what it was trained on; before a
set leaves the house, it must be checked for that, as the audit below does, and somebody must answer for it.</p>
</section>
$notes
<section>
<h2>Results on test patients</h2>
$table
<p>The last row is no network at all: the one intensity threshold that does best on training patients, used on every scan. A
U-net is worth its trouble by what it gains over that row. A gain or a loss is called so only where the 95% interval of the
difference, patient by patient, leaves zero out; otherwise it is a tie. With few patients ($patients here) intervals are
rough.</p>
$figure_scores
<h3>What the distances mean</h3>
<p>The 95HD is taken between the two surfaces, the voxels with at least one of six neighbours outside the mask: from every
surface voxel of one mask to the nearest of the other, the 95th percentile, both ways round, the greater of the two, in
millimetres of the scan's spacing. This is MONAI's definition. The maximum is the greatest of the same distances, ASSD their
average. An empty prediction has no distance and counts with the volume's diagonal.</p>
$paper
<p>The paper's 95HD comes from a program whose quantile is close to a maximum: on one pair of masks it gave 47.90 where the
exact surface 95HD is 29.48 and the maximum 49.10. So its figures are to be held against our maximum, not against our 95HD; and
its patients are others than ours.</p>
</section>
$section_pairs
$section_patient
<section>
<h2>Transfer to other sites</h2>
<p>U-nets were trained further with few patients of another site, from what they had learned on the first site's patches, or
from scratch. Every start had the same patients, steps and learning rate, and the same validation patients of that site picked the
step that was kept. A larger subset of patients holds the smaller ones of its number.</p>
$figure_transfer
$transfer
<p>Which patients a site has is a draw, like that of the test patients. So intervals resample both, the subsets and the test
patients, each independently of the other; where there is one subset, test patients alone, and the interval says nothing of other
patients to train with. A gain is the difference on the same test patient with the same subset.</p>
</section>
$privacy
$section_curves
$section_progress
$sweeps
$others
$cards
$settings
</main>
</body>
</html>
""")
