"""What turns data into runs: instructions, preferences, domains, feedback."""
