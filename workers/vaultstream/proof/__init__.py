"""What was signed, in forms that are checked without the database. Pure functions: no I/O, no clock; every input is an argument."""
