"""Tables of patient scores and their statistics, the threshold baseline, and the patient subsets of transfer trainings."""
