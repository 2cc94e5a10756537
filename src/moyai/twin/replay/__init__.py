"""A queue of the past on a fleet of our choice: production control, plan and agent cores on virtual time."""
