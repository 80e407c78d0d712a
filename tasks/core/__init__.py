"""The language that the stages are written in: functions over Site, Tree and Release; no doit."""
