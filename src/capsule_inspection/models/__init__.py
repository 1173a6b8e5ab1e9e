"""Plain torch networks, where their weights come from, their losses and their scores."""
