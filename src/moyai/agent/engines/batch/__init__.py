"""What every engine shares that hands scripts to another scheduler: Slurm, Ray."""
