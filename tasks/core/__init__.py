"""The language that the stages are written in: pure functions over Site, Tree and Release. Imports no doit."""
