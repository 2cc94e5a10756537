"""Machines that are reached by SSH: the host engine on several of them, each one node of a flavor."""
