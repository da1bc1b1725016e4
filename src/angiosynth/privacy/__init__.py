"""How much a synthetic set, its generator or its critic reveals about the patients behind it: attacks, and controls that test them."""
