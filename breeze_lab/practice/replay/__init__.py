"""A recorded day in the place of an invented one, and how to record one."""
