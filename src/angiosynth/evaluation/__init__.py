"""Tables of patients' scores and what is said about them; the threshold baseline; which patients a transfer trains with."""
