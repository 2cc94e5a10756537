"""The plan of a national queue: classes kept from cycle to cycle, priced by `plan.price`, started on nodes by bids.

`board` holds the nodes as they are, `shapes` what a job of some make costs where, `classes` the queue, `table` both in
arrays over time, `auction` who starts now, `planner` joins them.
"""
