"""The pages of `assimilate.report`: one a run, and one about everything that was run."""
