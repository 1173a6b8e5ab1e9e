"""Speed and memory of the program, as ratios; `make bench`, see README.md in this folder."""
