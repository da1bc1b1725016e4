"""Private evolution of the phantom: its settings are chosen by noisy votes of patients, with differential privacy per patient."""
