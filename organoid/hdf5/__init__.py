"""Reading and writing HDF5: layout of the own format, safe reading, heap checks."""
