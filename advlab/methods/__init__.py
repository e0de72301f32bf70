"""One file is one method; the file's name is the method's name. ``advlab.schema`` lists them without importing them."""
