"""One file is one method, and the name of the file is the name of the method.

A method imports NumPy, TensorFlow, problem, another method, or ``_art``. ``declarations.methods`` lists them.
"""
