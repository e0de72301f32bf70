"""Other processes, on this machine or in a cluster of Ray, that work on slices of images.

Imports the engine's interface and nothing of what a slice is.
"""
