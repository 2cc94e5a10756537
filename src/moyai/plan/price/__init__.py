"""The plan at scale: classes × options in arrays, priced by a smoothed dual, filled with whole jobs, with a bound.

`instance` holds the arrays, `dual` the bound, `newton` finds the prices, `fill` the whole jobs, `solve` joins them.
"""
