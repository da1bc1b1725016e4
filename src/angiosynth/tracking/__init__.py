"""MLflow: runs, stores, lineage, registry, and what is kept while a server is away."""
