"""What the programs of the process tests share, and how a test judges what became of their records."""
