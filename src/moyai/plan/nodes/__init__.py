"""Node level: which node and which GPUs a pod gets, over nodes held as arrays."""
