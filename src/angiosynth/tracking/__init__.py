"""MLflow: runs, stores, lineage, model registry, and the outbox for servers that are unreachable."""
