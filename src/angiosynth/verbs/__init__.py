"""What the command line does beside the stages of dvc.yaml: segment, release, sweep, doctor."""
