"""MLflow: runs, stores, lineage, registry, and the outbox for servers that go away."""
