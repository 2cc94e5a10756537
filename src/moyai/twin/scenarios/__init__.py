"""Scenarios: a YAML file, and a trace or made-up work, become what a replay starts from."""
