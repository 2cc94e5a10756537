"""Many replays of one scenario: every policy under every seed, side by side."""
