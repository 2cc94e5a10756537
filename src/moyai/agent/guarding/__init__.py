"""The parts of the guard. All but `bundle` run on the nodes: standard library only, Python 3.9 or later."""
