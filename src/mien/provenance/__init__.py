"""What outputs say about themselves: marks, Content Credentials, metadata, labels; reading them."""
