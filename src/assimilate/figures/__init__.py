"""What `assimilate.analyze` measures and draws: pairs of views, figures of views, figures of runs."""
