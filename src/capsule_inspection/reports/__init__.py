"""Pictures and tables, from arrays or from finished run folders; never from models."""
