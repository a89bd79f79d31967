"""From a command line to jobs at work: their folders, their sessions, their terminal, the table of a sweep."""
