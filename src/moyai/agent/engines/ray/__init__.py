"""The Ray engine: a Ray cluster, run by the jobs API of its head."""
