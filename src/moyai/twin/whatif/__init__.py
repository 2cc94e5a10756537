"""What if: the outside events of a real log, decided anew under another policy, other sites, other prices."""
