"""Measurements and pictures of runs: distances, label agreement, curves and picture grids."""
