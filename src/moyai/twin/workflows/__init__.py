"""Real workflows through the twin: graphs as tasks and files, a fleet to run them on, and how fast they could be."""
