"""What standalone scripts are made of: Python source, as lists of lines."""
