"""The paper's numbers beside ours, and how they are rendered."""
