"""How vectors are stored, and what that costs."""
