"""Losses, schedules and Lightning modules that assimilate generated views into contrastive learning."""
