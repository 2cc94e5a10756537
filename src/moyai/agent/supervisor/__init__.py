"""The small program per site that runs every rank of host attempts and outlives the agent. Standard library only."""
