"""Tables of patients' scores and their statistics; the threshold baseline; the subsets of patients that a transfer trains with."""
