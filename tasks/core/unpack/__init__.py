"""Archives and layers made a tree again, by a child that can write nowhere else."""
