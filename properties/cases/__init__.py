"""What is tried: cases, their values, and where they come from (drawn, covering, small, landmarks, shrunk)."""
