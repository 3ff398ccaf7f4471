"""What the user asks for, and what each engine understands of it."""
