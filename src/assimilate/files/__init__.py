"""Files: written whole or not at all, checked against flipped bytes, read without running code, resumed from."""
