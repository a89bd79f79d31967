"""What runs look like from the outside: distances, label agreement, curves and picture grids."""
