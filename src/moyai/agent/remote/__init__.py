"""What an agent runs on a machine that it reaches by SSH: one archive, started there. Standard library only."""
