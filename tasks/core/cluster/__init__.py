"""Files of the whole cluster, for programs beside it: inventories, zones, groups."""
