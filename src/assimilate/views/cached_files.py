"""Names of the files of a finished cache of views."""

IMAGES = "images.npy"
SUMMARY = "summary.json"
