"""Flow matching: a network learns the velocities that carry noise to pairs, and sampling integrates them."""
