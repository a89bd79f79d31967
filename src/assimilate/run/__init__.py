"""From a command line to its runs: the configuration, the recipe of steps, and how they are executed."""
