"""The Slurm engine: jobs by slurmrestd, or by Slurm's commands."""
