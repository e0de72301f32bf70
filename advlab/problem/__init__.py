"""What a method is given and returns: problem, loop, balls, norms, losses, random numbers, gradients.

Imports the root alone.
"""
